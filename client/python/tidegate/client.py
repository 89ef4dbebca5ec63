"""The client: every call of the server, from Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from types import TracebackType
from typing import Any

import pyarrow as pa
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from tidegate import definitions as language
from tidegate import derived, inputs, jobs, layout, lifecycle, online, pushes, registry, sealed
from tidegate._proto.derived.v1 import derived_pb2
from tidegate._proto.flight.v1 import flight_pb2
from tidegate._proto.jobs.v1 import jobs_pb2
from tidegate._proto.lifecycle.v1 import lifecycle_pb2
from tidegate._proto.materialize.v1 import materialize_pb2
from tidegate._proto.online.v1 import online_pb2
from tidegate._proto.push.v1 import push_pb2
from tidegate._proto.registry.v1 import registry_pb2
from tidegate._proto.sealed.v1 import sealed_pb2
from tidegate._proto.table.v1 import table_pb2
from tidegate.derived import Lineage, Refreshed
from tidegate.errors import DefinitionError, InvalidError, Problem, problem, translated
from tidegate.explain import ViewExplained, explained
from tidegate.jobs import Job
from tidegate.layout import Compacted, TableStats, Vacuumed
from tidegate.online import OnlineResult
from tidegate.pushes import Flushed, Pushed
from tidegate.registry import Applied, Described, Ingested, Plan, Progress, Version, ViewParity, ViewStatus
from tidegate.results import SqlResult, Stream, TrainingSet
from tidegate.sealed import Audit, Diff, Sample, SealedSet, Split, Verdict
from tidegate.transport import Transport

_REGISTRY = "tidegate.registry.v1.RegistryService"
_ONLINE = "tidegate.online.v1.OnlineService/GetOnlineFeatures"
_MATERIALIZE = "tidegate.materialize.v1.MaterializeService"
_PUSH = "tidegate.push.v1.PushService"
_JOBS = "tidegate.jobs.v1.JobsService"
_SEALED = "tidegate.sealed.v1.SealedService"
_LIFECYCLE = "tidegate.lifecycle.v1.LifecycleService"
_TABLE = "tidegate.table.v1.TableService"
_DERIVED = "tidegate.derived.v1.DerivedService"
_GET_TABLES = "type.googleapis.com/arrow.flight.protocol.sql.CommandGetTables"
_INCLUDE_SCHEMA = b"\x28\x01"

ProgressSetting = bool | Callable[[Progress], None]


class Client:
    """A connection to a Tidegate server, for one project.

        with tidegate.Client(project="flights") as client:
            client.apply("definitions/")
            client.ingest("weather_reports", frame)
            rows = client.get_historical_features(spine, service="late_arrival").to_pandas()

    `address` defaults to the environment's TIDEGATE_ADDRESS, then http://127.0.0.1:7407; `project` to TIDEGATE_PROJECT, then
    the project last applied, then the server's only project. A client may be shared by threads.
    """

    def __init__(self, address: str | None = None, project: str | None = None) -> None:
        self.address = address or os.environ.get("TIDEGATE_ADDRESS") or "http://127.0.0.1:7407"
        self._project = project or os.environ.get("TIDEGATE_PROJECT") or None
        self._transport = Transport(self.address)
        self._warned: set[str] = set()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.address!r}, project={self._project!r})"

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()

    @property
    def project(self) -> str:
        """The project that calls are about."""
        if self._project is None:
            self._project = self._only_project()
        return self._project

    def projects(self) -> list[str]:
        """The server's projects."""
        request = registry_pb2.ListProjectsRequest()
        reply = self._transport.call(f"{_REGISTRY}/ListProjects", request, registry_pb2.ListProjectsResponse)
        return list(reply.projects)

    # Definitions

    def plan(self, definitions: language.Definitions, *, prune: bool = False, project: str | None = None) -> Plan:
        """What applying definitions would do: paths of files or folders, a document, or Python definitions.

        With `prune`, definitions that are not mentioned would be removed. Raises `DefinitionError` with every problem found.

            print(client.plan("definitions/"))
        """
        files = language.files(definitions, project or self._project)
        request = registry_pb2.PlanRequest(files=files, prune=prune)
        reply = self._transport.call(f"{_REGISTRY}/Plan", request, registry_pb2.PlanResponse)
        _refuse_problems(reply.problems)
        changes = registry.changes(reply.changes)
        digest, warnings = reply.target_digest, list(reply.warnings)
        return Plan(reply.project, reply.base_version, changes, digest, prune, files, warnings)

    def apply(
        self,
        definitions: language.Definitions | Plan,
        *,
        prune: bool = False,
        allow_breaking: bool = False,
        project: str | None = None,
    ) -> Applied:
        """Makes definitions the project's next version; a `Plan` is applied exactly as planned, or refused.

        client.apply("definitions/")
        client.apply([airport, reports, weather], project="flights")
        """
        if isinstance(definitions, Plan):
            plan = definitions
            request = registry_pb2.ApplyRequest(
                files=plan.files,
                prune=plan.prune,
                base_version=plan.base_version,
                expected_digest=plan.target_digest,
                allow_breaking=allow_breaking,
            )
        else:
            files = language.files(definitions, project or self._project)
            request = registry_pb2.ApplyRequest(files=files, prune=prune, allow_breaking=allow_breaking)
        applied = self._applied(f"{_REGISTRY}/Apply", request)
        self._project = self._project or applied.project
        return applied

    def get(self, kind: str = "", name: str = "", *, version: int = 0) -> list[Described]:
        """Definitions by kind (`entity`, `source`, `feature_view`, `feature_service`) and name; empty for all."""
        request = registry_pb2.GetRequest(project=self.project, kind=kind, name=name, version=version)
        reply = self._transport.call(f"{_REGISTRY}/Get", request, registry_pb2.GetResponse)
        return [registry.described(message) for message in reply.definitions]

    def describe(self, name: str, kind: str = "") -> Described:
        """The definition of this name; say its kind where several kinds share the name."""
        found = self.get(kind, name)
        if len(found) != 1:
            kinds = ", ".join(described.kind for described in found)
            raise InvalidError(f"`{name}` is the name of {kinds or 'nothing'}; say kind=… and a name that exists")
        return found[0]

    def delete(self, kind: str, name: str) -> Applied:
        """Removes one definition; refused with the names of what still depends on it."""
        request = registry_pb2.DeleteRequest(project=self.project, kind=kind, name=name)
        return self._applied(f"{_REGISTRY}/Delete", request)

    def history(self) -> list[Version]:
        """The project's versions, newest first."""
        request = registry_pb2.HistoryRequest(project=self.project)
        reply = self._transport.call(f"{_REGISTRY}/History", request, registry_pb2.HistoryResponse)
        return [registry.version(message) for message in reply.versions]

    def rollback(self, to_version: int, *, allow_breaking: bool = False) -> Applied:
        """Makes an old version's definitions the next version."""
        request = registry_pb2.RollbackRequest(
            project=self.project, to_version=to_version, allow_breaking=allow_breaking
        )
        return self._applied(f"{_REGISTRY}/Rollback", request)

    # History

    def ingest(
        self, target: str, data: Any, batch_id: str | None = None, ignore_extra_columns: bool = False
    ) -> Ingested:
        """Appends rows to a managed source, or to the source of a view: all of them or none.

        The same `batch_id` is accepted once, so that a failed call can be repeated safely. `data` is anything that
        `get_historical_features` accepts, or the path of a Parquet or Arrow file.

            client.ingest("weather_reports", frame, batch_id="2013-01-01")
        """
        command = flight_pb2.Ingest(
            project=self.project, target=target, batch_id=batch_id or "", ignore_extra_columns=ignore_extra_columns
        )
        answer = flight_pb2.Ingested()
        answer.ParseFromString(self._transport.put(command, self._rows(data), self.project))
        return Ingested(
            answer.source,
            answer.version,
            answer.rows,
            answer.already_ingested,
            answer.batch_id,
            list(answer.ignored_columns),
        )

    def push(self, target: str, rows: Any, to: str = "both", *, event_ids: Any = None) -> Pushed:
        """Takes rows that are served at once: when it returns they are durable, and lookups see them.

        `target` is a source, whose online views all see the rows, or a view. `to` is "both", "offline" (the table only) or
        "online"; with a view and "online" the rows go to that view alone. `event_ids` are one id for each row, text, bytes or
        integers: the same id is taken once, so that a failed call can be repeated safely. Without them the source's `event_id`
        column counts, where it has one. A row that can't be taken holds up no other: see `Pushed.quarantined`.

            client.push("clicks", [{"user_id": 7, "at": now, "page": "/"}], event_ids=["click-1"]).accepted
        """
        total = pushes.NOTHING
        reader = pushes.reader(rows, self._warned)
        for request in pushes.requests(self.project, target, reader, to, event_ids):
            total += pushes.pushed(self._transport.call(f"{_PUSH}/Push", request, push_pb2.PushResponse))
        return total

    def flush(self, target: str) -> Flushed:
        """Waits until the table of a source, or of a view's source, has everything that was pushed before."""
        request = push_pb2.FlushRequest(project=self.project, target=target)
        reply = self._transport.call(f"{_PUSH}/Flush", request, push_pb2.FlushResponse)
        return Flushed(reply.source, reply.version, reply.rows)

    def get_historical_features(
        self,
        spine: Any = None,
        features: Iterable[str] | str | None = None,
        service: str | None = None,
        *,
        sql: str | None = None,
        table: str | None = None,
        event_time_column: str = "event_timestamp",
        full_names: bool = False,
        as_of: datetime | date | str | int | None = None,
        include_event_times: bool = False,
        include_statuses: bool = False,
        split: Split | None = None,
        sample: Sample | None = None,
        seal: str | None = None,
    ) -> TrainingSet:
        """The spine's rows, each with the features as they were known at its time.

        The spine is a pandas, polars or pyarrow table, anything with `__arrow_c_stream__`, a list of dicts or a dict of
        columns; or, without being sent, a query (`sql`) or a `table` of the project. Features are those of a `service`, or
        references such as `["origin_weather:temp"]`. `as_of` cuts off what became known later (a time, ISO text, or UTC
        microseconds). `split` and `sample` choose rows of the spine before anything is joined. Nothing is read before one of
        the result's `to_…` methods is called; only with `seal` the set is made and sealed under that name at once, and the
        result reads it.

            spine = [{"origin": "JFK", "event_timestamp": datetime(2013, 1, 1, 12, tzinfo=timezone.utc)}]
            client.get_historical_features(spine, ["origin_weather:temp"]).to_pandas()
        """
        command = self._training_set(
            features,
            service,
            event_time_column=event_time_column,
            full_names=full_names,
            as_of=as_of,
            include_event_times=include_event_times,
            include_statuses=include_statuses,
            split=split,
            sample=sample,
        )
        if seal is not None:
            self._seal(seal, command, spine, sql, table, None)
            return self.read_sealed(seal)
        named = _names_spine(command, spine, sql, table)
        return TrainingSet(*(self._lazily(command) if named else self._sending(command, spine)))

    # Sealed training sets

    def seal(
        self,
        name: str,
        spine: Any = None,
        features: Iterable[str] | str | None = None,
        service: str | None = None,
        *,
        sql: str | None = None,
        table: str | None = None,
        progress: Callable[[int], None] | None = None,
        **options: Any,
    ) -> SealedSet:
        """Makes a training set on the server and seals it: it can be made again, verified and compared from then on.

        Spine and `options` are those of `get_historical_features`. No row travels back; `read_sealed` fetches them. `progress`
        gets the rows made so far.

            client.seal("late-2013", frame, service="late_arrival", split=tidegate.Split(at=["2013-11-01"], embargo="1d"))
        """
        return self._seal(name, self._training_set(features, service, **options), spine, sql, table, progress)

    def sealed(self) -> list[SealedSet]:
        """The project's sealed sets, oldest first."""
        request = sealed_pb2.ListRequest(project=self.project)
        reply = self._transport.call(f"{_SEALED}/List", request, sealed_pb2.ListResponse)
        return [sealed.sealed_set(message) for message in reply.sets]

    def sealed_set(self, name: str) -> SealedSet:
        """One sealed set."""
        request = sealed_pb2.GetRequest(project=self.project, name=name)
        return sealed.sealed_set(self._transport.call(f"{_SEALED}/Get", request, sealed_pb2.SealedSet))

    def read_sealed(self, name: str) -> TrainingSet:
        """The rows of a sealed set, made again from the table versions and definitions it pinned."""
        return TrainingSet(*self._lazily(flight_pb2.SealedSet(project=self.project, name=name)))

    def verify(self, name: str, progress: Callable[[int], None] | None = None) -> Verdict:
        """Makes a sealed set again and says whether it is the same, bit for bit.

        assert client.verify("late-2013")
        """
        request = sealed_pb2.VerifyRequest(project=self.project, name=name)
        steps = self._transport.stream(f"{_SEALED}/Verify", request, sealed_pb2.VerifyProgress)
        return sealed.verdict(name, sealed.last(steps, "verdict", progress))

    def diff(self, name: str, against: str | None = None) -> Diff:
        """The values of a sealed set that are others in the tables as they are now, or in the set `against` of the same rows.

        client.diff("late-2013").to_pandas()
        """
        return Diff(*self._lazily(flight_pb2.SealedDiff(project=self.project, name=name, against=against or "")))

    def delete_sealed(self, name: str) -> None:
        """Forgets a sealed set; its name and the table versions it pinned are free."""
        request = sealed_pb2.DeleteRequest(project=self.project, name=name)
        self._transport.call(f"{_SEALED}/Delete", request, sealed_pb2.DeleteResponse)

    def table_stats(self, name: str) -> TableStats:
        """How the table of a view or source lies on disk, and how many files a range of keys or times falls into."""
        request = table_pb2.StatsRequest(project=self.project, name=name)
        return layout.stats(self._transport.call(f"{_TABLE}/Stats", request, table_pb2.StatsResponse))

    def compact_table(self, name: str) -> Compacted:
        """Merges the small files of a managed table into few, sorted by the keys of the view `name` and event time.

        No training set, lookup or query changes; readers and writers go on. Doing it again does nothing.
        """
        request = table_pb2.CompactRequest(project=self.project, name=name)
        return layout.compacted(self._transport.call(f"{_TABLE}/Compact", request, table_pb2.CompactResponse))

    def vacuum_table(self, name: str, older_than: timedelta | str = "7d", *, dry_run: bool = False) -> Vacuumed:
        """Deletes the files of a managed table that no version to be kept needs.

        Kept are the files of the newest version, of versions that were the newest within `older_than`, and of those that sealed
        training sets were made from.

            client.vacuum_table("origin_weather", dry_run=True).bytes
        """
        micros = sealed.span_micros(older_than, "older_than")
        request = table_pb2.VacuumRequest(project=self.project, name=name, older_than=micros, dry_run=dry_run)
        return layout.vacuumed(self._transport.call(f"{_TABLE}/Vacuum", request, table_pb2.VacuumResponse))

    def audit(
        self,
        spine: Any = None,
        features: Iterable[str] | str | None = None,
        service: str | None = None,
        *,
        sql: str | None = None,
        table: str | None = None,
        margin: timedelta | str = timedelta(minutes=1),
        **options: Any,
    ) -> Audit:
        """What a training set would leak without knowledge times: counts for each feature.

        Spine and `options` are those of `get_historical_features`; values from within `margin` before their row's time are
        counted as near.

            client.audit(frame, service="late_arrival", margin="10m").to_pandas()
        """
        training_set = self._training_set(features, service, **options)
        named = _names_spine(training_set, spine, sql, table)
        command = flight_pb2.Audit(training_set=training_set, margin=sealed.span_micros(margin, "margin"))
        return Audit(*(self._lazily(command) if named else self._sending(command, spine)))

    def explain_row(
        self,
        row: Mapping[str, Any],
        features: Iterable[str] | str | None = None,
        service: str | None = None,
        *,
        at: datetime | date | str | int | None = None,
        outputs: Sequence[str] = (),
        event_time_column: str = "event_timestamp",
        full_names: bool = False,
        as_of: datetime | date | str | int | None = None,
        runners_up: int | None = None,
    ) -> list[ViewExplained]:
        """Why one row of a spine gets what it gets: for each view, the observation that won, and why the others lost.

        `row` holds the keys, and the row's time unless `at` says it. `outputs` chooses features of a service; `runners_up` is how
        many observations are told beside the winner, 20 unless said otherwise. The rest is as in `get_historical_features`.

            told = client.explain_row({"origin": "JFK"}, ["origin_weather:temp"], at="2013-01-01T12:00:00Z")[0]
            print(told, told.winner, told.to_pandas())
        """
        columns = {name: [value] for name, value in row.items()}
        if at is not None:
            columns[event_time_column] = pa.array([sealed.micros(at, "at")], pa.timestamp("us", "UTC"))
        selection = online.references(features, service)
        asked = flight_pb2.TrainingSet(
            project=self.project,
            feature_service=selection.get("feature_service"),
            event_time_column=event_time_column,
            full_feature_names=full_names,
            as_of=None if as_of is None else sealed.micros(as_of, "as_of"),
        )
        if "references" in selection:
            asked.features.references.extend(selection["references"])
        request = flight_pb2.ExplainRow(
            training_set=asked, spine_row=_ipc(self._rows(columns)), outputs=outputs, runners_up=runners_up
        )
        answer = flight_pb2.RowExplained()
        answer.ParseFromString(self._transport.action("ExplainRow", request, self.project))
        return [explained(view) for view in answer.views]

    def sql(self, query: str, params: Sequence[Any] | None = None) -> SqlResult:
        """The rows of a query over the project's sources and views; `$1`, `$2`… stand for `params`.

        client.sql("SELECT carrier, count(*) FROM flights WHERE origin = $1 GROUP BY 1", ["JFK"]).to_pandas()
        """
        command = flight_pb2.SqlStatement(project=self.project, query=query, parameters=_parameters(params))
        return SqlResult(*self._lazily(command))

    def tables(self) -> pa.Table:
        """What SQL sees: one row for each table, with `schema`, `name`, `kind` and its `columns`."""
        command = AnyMessage(type_url=_GET_TABLES, value=_INCLUDE_SCHEMA)
        with translated():
            schema, batches, _ = self._transport.read(command, self.project)
            found = pa.Table.from_batches(batches, schema)
        columns = [
            [f"{field.name} {field.type}" for field in pa.ipc.read_schema(pa.py_buffer(value))]
            for value in found.column("table_schema").to_pylist()
        ]
        return pa.table(
            {
                "schema": found.column("db_schema_name"),
                "name": found.column("table_name"),
                "kind": found.column("table_type"),
                "columns": pa.array(columns, pa.list_(pa.string())),
            }
        )

    # Serving

    def get_online_features(
        self,
        keys: Any,
        features: Iterable[str] | str | None = None,
        service: str | None = None,
        *,
        request: Any = None,
        full_names: bool = False,
        include_times: bool = False,
        return_expired: bool = False,
        as_of: datetime | date | str | int | None = None,
        timeout: float | None = None,
        allow_partial: bool = False,
        after_write: str | None = None,
    ) -> OnlineResult:
        """The newest served values for some entity rows; rows keep their order and duplicates.

        `keys` is a dict of column to values (one value stands for all rows), a list of dicts, or any table; `request` is the
        same for the columns that the service's computed features need. `as_of` answers from history instead, as of that time: for
        debugging an old prediction. `timeout` is in seconds; with `allow_partial` what was not read when it is nearly over
        is FAILED. `after_write` is the `write_token` of a write that the answer must see.

            result = client.get_online_features({"origin": ["JFK", "LGA"]}, service="late_arrival", include_times=True)
            result.to_numpy(), result.statuses["temp"], result.ages["origin_weather"]
        """
        table = online.key_table(keys)
        selection = online.references(features, service)
        message = online_pb2.GetOnlineFeaturesRequest(
            project=self.project,
            feature_service=selection.get("feature_service"),
            keys=online.encode_keys(table),
            request_columns=online.encode_request(request, table.num_rows),
            full_feature_names=full_names,
            include_times=include_times,
            return_expired=return_expired,
            format=online_pb2.REPLY_FORMAT_ARROW,
            as_of=None if as_of is None else sealed.micros(as_of, "as_of"),
            allow_partial=allow_partial,
            after_write=after_write or "",
        )
        if "references" in selection:
            message.features.references.extend(selection["references"])
        reply = self._transport.call(_ONLINE, message, online_pb2.GetOnlineFeaturesResponse, timeout)
        return OnlineResult(table, reply)

    def materialize(
        self,
        views: Sequence[str] | str | None = None,
        full: bool = False,
        progress: ProgressSetting = True,
        detach: bool = False,
    ) -> list[Progress]:
        """Brings online views up to their tables' current versions; one final report for each.

        `full` rebuilds from the whole table. `progress` is True for lines on standard error, or a function that gets each
        report. A view's job that waits or runs already is joined. Interrupting the call stops the jobs it started at their next
        batch; a later call goes on where an increment stopped, and a rebuild begins anew. With `detach` the call returns at once,
        with one report for each view that names its job; the jobs go on, and are tried again when they fail.
        """
        names = [views] if isinstance(views, str) else list(views or ())
        request = materialize_pb2.MaterializeRequest(project=self.project, views=names, full=full, detach=detach)
        show = _shower() if progress is True else progress or _ignore
        final = []
        stream = self._transport.stream(f"{_MATERIALIZE}/Materialize", request, materialize_pb2.MaterializeProgress)
        for message in stream:
            report = registry.progress(message)
            show(report)
            if report.done or detach:
                final.append(report)
        return final

    def jobs(self, views: Sequence[str] | str | None = None, active: bool = False, limit: int = 0) -> list[Job]:
        """Jobs that bring views up to date, newest first; with `active`, those that wait or run. `limit` 0 is all remembered."""
        names = [views] if isinstance(views, str) else list(views or ())
        request = jobs_pb2.ListJobsRequest(project=self.project, views=names, active=active, limit=limit)
        reply = self._transport.call(f"{_JOBS}/ListJobs", request, jobs_pb2.ListJobsResponse)
        return [jobs.job(message) for message in reply.jobs]

    def job(self, id: int) -> Job:
        """One job."""
        return self._job("GetJob", id)

    def watch_job(self, id: int) -> Iterator[Job]:
        """A job each time it changes, until it ends. Leaving the iteration changes nothing for the job."""
        request = jobs_pb2.JobRequest(project=self.project, id=id)
        for message in self._transport.stream(f"{_JOBS}/WatchJob", request, jobs_pb2.Job):
            yield jobs.job(message)

    def cancel_job(self, id: int) -> Job:
        """Stops a job: at once where it waits, at its next batch where it runs. What it wrote stays."""
        return self._job("CancelJob", id)

    def retry_job(self, id: int) -> Job:
        """Runs a job again that failed or was cancelled, or now instead of after its pause."""
        return self._job("RetryJob", id)

    def _job(self, method: str, id: int) -> Job:
        request = jobs_pb2.JobRequest(project=self.project, id=id)
        return jobs.job(self._transport.call(f"{_JOBS}/{method}", request, jobs_pb2.Job))

    def refresh(self, name: str, full: bool = False) -> list[Refreshed]:
        """Brings the table of a query up to what it reads; one report for each query looked at, those that others read first.

        `name` is a source or a view; of one that is no query, nothing comes back. `full` computes it from everything.
        """
        request = derived_pb2.RefreshRequest(project=self.project, name=name, full=full)
        return derived.refreshed(self._transport.call(f"{_DERIVED}/Refresh", request, derived_pb2.RefreshResponse))

    def lineage(self, view: str) -> Lineage:
        """Which columns of tables a view's features are computed from, and by way of what."""
        request = derived_pb2.LineageRequest(project=self.project, view=view)
        return derived.lineage(view, self._transport.call(f"{_DERIVED}/Lineage", request, derived_pb2.LineageResponse))

    def parity(self, views: Sequence[str] | str | None = None) -> list[ViewParity]:
        """Compares every row that lookups see with the newest observation of its key in the table, at the version materialized."""
        names = [views] if isinstance(views, str) else list(views or ())
        request = materialize_pb2.ParityRequest(project=self.project, views=names)
        stream = self._transport.stream(f"{_MATERIALIZE}/Parity", request, materialize_pb2.ViewParity)
        return [registry.view_parity(message) for message in stream]

    def status(self, views: Sequence[str] | str | None = None) -> list[ViewStatus]:
        """How far each online view has come."""
        names = [views] if isinstance(views, str) else list(views or ())
        request = materialize_pb2.StatusRequest(project=self.project, views=names)
        reply = self._transport.call(f"{_MATERIALIZE}/Status", request, materialize_pb2.StatusResponse)
        return [registry.view_status(message) for message in reply.views]

    # Lifecycle

    def erase(
        self, entity: str, keys: Mapping[str, Any], progress: Callable[[str], None] | None = None
    ) -> lifecycle.Receipt:
        """Erases an entity everywhere, for good: from views, managed tables with all their versions, spines and logs.

        Rows of it that come later with event times before the erasure are refused. Sealed training sets that it was in no longer
        verify; the receipt names them. It does not reach into backups. Erasing again finishes what was cut short.

            receipt = client.erase("user", {"user_id": 42})
        """
        request = lifecycle_pb2.EraseRequest(project=self.project, entity=entity, keys=lifecycle.keys(keys))
        steps = self._transport.stream(f"{_LIFECYCLE}/Erase", request, lifecycle_pb2.EraseProgress)
        return lifecycle.erased(steps, progress)

    def erasures(self) -> list[lifecycle.Receipt]:
        """The receipts of the project's erasures, oldest first."""
        request = lifecycle_pb2.ListErasuresRequest(project=self.project)
        reply = self._transport.call(f"{_LIFECYCLE}/ListErasures", request, lifecycle_pb2.ListErasuresResponse)
        return [lifecycle.receipt(message) for message in reply.receipts]

    def backup(
        self, name: str = "", *, online_only: bool = False, progress: Callable[[str], None] | None = None
    ) -> lifecycle.Backup:
        """Backs up everything the server keeps, below the folder that its settings name; it goes on serving meanwhile.

        `online_only` leaves managed tables out. `tidegate restore` makes a data folder of the result's `path`.
        """
        request = lifecycle_pb2.BackupRequest(name=name, online_only=online_only)
        steps = self._transport.stream(f"{_LIFECYCLE}/Backup", request, lifecycle_pb2.BackupProgress)
        return lifecycle.backed_up(steps, progress)

    def rebuild(
        self, projects: Sequence[str] | str | None = None, progress: Callable[[str], None] | None = None
    ) -> list[lifecycle.Rebuilt]:
        """Rebuilds every online view of these projects, or of all, from their tables alone; lookups go on meanwhile."""
        names = [projects] if isinstance(projects, str) else list(projects or ())
        request = lifecycle_pb2.RebuildRequest(projects=names)
        steps = self._transport.stream(f"{_LIFECYCLE}/Rebuild", request, lifecycle_pb2.RebuildProgress)
        return lifecycle.rebuilt(steps, progress)

    def drop_view(self, view: str) -> lifecycle.Dropped:
        """Removes a view: its definition and its online rows. The table of its source stays."""
        request = lifecycle_pb2.DropViewRequest(project=self.project, view=view)
        return lifecycle.dropped(
            self._transport.call(f"{_LIFECYCLE}/DropView", request, lifecycle_pb2.DropViewResponse)
        )

    def retain(self, views: Sequence[str] | str | None = None) -> list[lifecycle.Retained]:
        """Deletes the online rows that views no longer retain, now; by itself the server does it every now and then."""
        names = [views] if isinstance(views, str) else list(views or ())
        request = lifecycle_pb2.RetainRequest(project=self.project, views=names)
        return lifecycle.retained(self._transport.call(f"{_LIFECYCLE}/Retain", request, lifecycle_pb2.RetainResponse))

    # Helpers

    def _training_set(
        self,
        features: Iterable[str] | str | None,
        service: str | None,
        *,
        event_time_column: str = "event_timestamp",
        full_names: bool = False,
        as_of: datetime | date | str | int | None = None,
        include_event_times: bool = False,
        include_statuses: bool = False,
        split: Split | None = None,
        sample: Sample | None = None,
    ) -> flight_pb2.TrainingSet:
        """A training set that names no spine yet."""
        selection = online.references(features, service)
        command = flight_pb2.TrainingSet(
            project=self.project,
            feature_service=selection.get("feature_service"),
            event_time_column=event_time_column,
            full_feature_names=full_names,
            as_of=None if as_of is None else sealed.micros(as_of, "as_of"),
            include_event_times=include_event_times,
            include_statuses=include_statuses,
            split=split.message() if split else None,
            sample=sample.message() if sample else None,
        )
        if "references" in selection:
            command.features.references.extend(selection["references"])
        return command

    def _seal(
        self,
        name: str,
        command: flight_pb2.TrainingSet,
        spine: Any,
        sql: str | None,
        table: str | None,
        progress: Callable[[int], None] | None,
    ) -> SealedSet:
        if not _names_spine(command, spine, sql, table):
            uploaded = flight_pb2.SpineUploaded()
            upload = flight_pb2.SpineUpload(project=self.project)
            uploaded.ParseFromString(self._transport.put(upload, self._rows(spine), self.project))
            command.spine_id = uploaded.spine_id
        request = sealed_pb2.SealRequest(name=name, training_set=command)
        steps = self._transport.stream(f"{_SEALED}/Seal", request, sealed_pb2.SealProgress)
        return sealed.sealed_set(sealed.last(steps, "sealed", progress))

    def _lazily(self, command: Message) -> tuple[Callable[[], pa.Schema], Callable[[], Stream]]:
        """How to find the schema of a command's result, and how to read it."""
        project = self.project
        return lambda: self._transport.schema(command, project), lambda: self._transport.read(command, project)

    def _sending(self, command: Message, spine: Any) -> tuple[Callable[[], pa.Schema], Callable[[], Stream]]:
        """The same for a command that takes the spine's rows along."""
        project = self.project

        def read() -> Stream:
            return self._transport.exchange(command, self._rows(spine), project)

        def schema() -> pa.Schema:
            empty = pa.RecordBatchReader.from_batches(self._rows(spine).schema, [])
            found, batches, _ = self._transport.exchange(command, empty, project)
            for _ in batches:
                pass
            return found

        return schema, read

    def _rows(self, data: Any) -> pa.RecordBatchReader:
        return inputs.checked(inputs.reader(data), self._warned)

    def _applied(
        self,
        method: str,
        request: registry_pb2.ApplyRequest | registry_pb2.DeleteRequest | registry_pb2.RollbackRequest,
    ) -> Applied:
        reply = self._transport.call(method, request, registry_pb2.ApplyResponse)
        _refuse_problems(reply.problems)
        return Applied(reply.project, reply.version, registry.changes(reply.changes))

    def _only_project(self) -> str:
        projects = self.projects()
        if len(projects) == 1:
            return projects[0]
        there = f"it has {', '.join(projects)}" if projects else "it has none yet; apply definitions first"
        raise InvalidError(f"the server has no single project ({there}); say Client(project=…) or set TIDEGATE_PROJECT")


def _refuse_problems(problems: Sequence[Any]) -> None:
    found: list[Problem] = [problem(message) for message in problems]
    if found:
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise DefinitionError(f"{count} in the definitions", remedy="Mend the places listed.", problems=found)


def _names_spine(command: flight_pb2.TrainingSet, spine: Any, sql: str | None, table: str | None) -> bool:
    """Puts a spine that the server can reach into the command; False for rows, which are to be sent."""
    if sum(given is not None for given in (spine, sql, table)) != 1:
        raise InvalidError("say exactly one spine: rows, sql='SELECT …', or table='name'")
    if sql is not None:
        command.sql = sql
    if table is not None:
        command.table = table
    return spine is None


def _parameters(params: Sequence[Any] | None) -> bytes:
    """One row as an Arrow IPC stream, column i for `$i+1`."""
    if not params:
        return b""
    if isinstance(params, (str, bytes)):
        raise InvalidError("params is a list of values, one for each of $1, $2…")
    with translated():
        arrays = [value if isinstance(value, pa.Array) else pa.array([value]) for value in params]
        table = pa.Table.from_arrays(arrays, names=[f"${i + 1}" for i in range(len(arrays))])
        return _ipc(table.to_reader())


def _ipc(rows: pa.RecordBatchReader) -> bytes:
    """Rows as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with translated(), pa.ipc.new_stream(sink, rows.schema) as writer:
        for batch in rows:
            writer.write_batch(batch)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded


def _ignore(report: Progress) -> None:
    """Shows nothing."""


def _shower() -> Callable[[Progress], None]:
    """Shows reports on standard error: over each other on a terminal, else only the final ones."""
    terminal = sys.stderr.isatty()

    def show(report: Progress) -> None:
        if terminal:
            end = "\n" if report.done else ""
            print(f"\r\x1b[K{report}", end=end, file=sys.stderr, flush=True)
        elif report.done:
            print(report, file=sys.stderr, flush=True)

    return show
