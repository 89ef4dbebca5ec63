"""Definitions written in Python. They emit the same documents, version 1, as YAML files hold.

airport = Entity("airport", keys={"origin": "string"})
reports = Source("weather_reports", event_time="time_hour")
weather = FeatureView(
    "origin_weather", entities=[airport], source=reports, ttl=timedelta(hours=6),
    features=[Feature("temp", "float64"), Feature("wind_speed", "float64", default=0.0)],
)
arrival = FeatureService("late_arrival", views=[weather["temp"], weather.use(alias="dest_weather", keys={"origin": "dest"})])
client.apply([airport, reports, weather, arrival], project="flights")
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

from tidegate._proto.registry.v1 import registry_pb2
from tidegate.errors import InvalidError

Document: TypeAlias = dict[str, Any]
Span: TypeAlias = timedelta | str


@dataclass(frozen=True, kw_only=True)
class About:
    """What people write about a definition; no behaviour depends on it."""

    description: str | None = None
    owner: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def _about(self) -> Document:
        return {"description": self.description, "owner": self.owner, "tags": dict(self.tags)}


@dataclass(frozen=True)
class Entity(About):
    """What features describe, by its join keys: name to type, in order.

    >>> Entity("route", {"origin": "string", "dest": "string"}).document()["name"]
    'route'
    """

    name: str
    keys: Mapping[str, str]

    def document(self) -> Document:
        """As a definition file has it."""
        return _present({"name": self.name, "keys": _columns(self.keys), **self._about()})


@dataclass(frozen=True)
class Query:
    """SQL over other sources and over feature views: what stands for a source's `table`.

    `from_` is all that it may name: sources, views, or names of either.

    >>> Query("SELECT * FROM orders WHERE amount > 100", ["orders"]).document()
    {'sql': 'SELECT * FROM orders WHERE amount > 100', 'from': ['orders']}
    """

    sql: str
    from_: Sequence[Source | FeatureView | str]

    def document(self) -> Document:
        """As a definition file has it."""
        return {"sql": self.sql, "from": [_relation(read) for read in self.from_]}


@dataclass(frozen=True)
class KafkaTopic:
    """A topic whose messages become rows of a managed source.

    `cluster` is a name in the server's configuration. `format` is `"json"`, `{"avro": {"schemas": uri}}` or
    `{"protobuf": {"descriptors": uri, "message": name}}`; `start` is `"earliest"` or `"latest"`.
    """

    cluster: str
    topic: str
    format: str | Mapping[str, Mapping[str, str]] = "json"
    start: str = "earliest"

    def document(self) -> Document:
        """As a definition file has it."""
        form = self.format if isinstance(self.format, str) else {name: dict(of) for name, of in self.format.items()}
        return {"cluster": self.cluster, "topic": self.topic, "format": form, "start": self.start}


@dataclass(frozen=True)
class Source(About):
    """A table of observations.

    `table` is `"managed"` for one that Tidegate creates and writes, `{"delta": uri}` or `{"parquet": uri}` for existing
    ones that it only reads, or a `Query`. `columns` are further ones, kept for SQL and for aggregates, name to type. Where
    rows hold for a time, `valid_from` (included) and `valid_to` (not included, null while a row still holds) stand for
    `event_time`. `event_id` is the column that tells events apart; `on_rewrite` is `"refresh"` or `"refuse"`.
    """

    name: str
    event_time: str | None = None
    created_time: str | None = None
    table: str | Mapping[str, str] | Query = "managed"
    columns: Mapping[str, str] = field(default_factory=dict)
    valid_from: str | None = None
    valid_to: str | None = None
    event_id: str | None = None
    on_rewrite: str = "refresh"
    kafka: KafkaTopic | None = None

    def document(self) -> Document:
        """As a definition file has it."""
        return _present(
            {
                "name": self.name,
                "table": _table(self.table),
                "event_time": self.event_time,
                "valid_from": self.valid_from,
                "valid_to": self.valid_to,
                "created_time": self.created_time,
                "event_id": self.event_id,
                "columns": _columns(self.columns),
                "on_rewrite": None if self.on_rewrite == "refresh" else self.on_rewrite,
                "kafka": None if self.kafka is None else self.kafka.document(),
                **self._about(),
            }
        )


@dataclass(frozen=True)
class Aggregate:
    """What a feature is over the observations of a window.

    `fn` is `count`, `sum`, `mean`, `min`, `max`, `var`, `std`, `first`, `last`, `last_n` or `top_k` (with `n`),
    `distinct_count` or `percentile` (with `p`, between 0 and 1). `column` is the source's; `count` without one counts rows.
    `window` is a span or `"all"`; its start is rounded down to the `hop`.

    >>> Aggregate("sum", "amount", window=timedelta(days=7)).document()
    {'fn': 'sum', 'column': 'amount', 'window': '7d'}
    """

    fn: str
    column: str | None = None
    window: Span = field(kw_only=True)
    hop: Span | None = None
    n: int | None = None
    p: float | None = None

    def document(self) -> Document:
        """As a definition file has it."""
        return _present(
            {
                "fn": self.fn,
                "column": self.column,
                "window": _span(self.window),
                "hop": _span(self.hop),
                "n": self.n,
                "p": self.p,
            }
        )


@dataclass(frozen=True)
class Feature:
    """One value per observation; `column` is the source's column where it is named otherwise.

    With an `aggregate`, one value over the observations of a window; then `type` is that of the result. `default` is what a
    lookup answers in place of a missing, null or expired value. `renamed_from` is the name the feature had: what is stored
    under that one is this feature's.
    """

    name: str
    type: str
    column: str | None = None
    default: Any = None
    description: str | None = None
    aggregate: Aggregate | None = None
    renamed_from: str | None = None

    def document(self) -> Document:
        """As a definition file has it."""
        return _present(
            {
                "name": self.name,
                "type": self.type,
                "column": self.column,
                "aggregate": None if self.aggregate is None else self.aggregate.document(),
                "renamed_from": self.renamed_from,
                "default": self.default,
                "description": self.description,
            }
        )


@dataclass(frozen=True)
class Computed:
    """A feature computed when it is asked for: SQL over `view.feature`, `request.column`, and `computed.feature` for those before.

    `on_error` is `"failed"` or `"null"`: what a row gets in which the expression fails.
    """

    name: str
    type: str
    expression: str
    on_error: str | None = None
    description: str | None = None

    def document(self) -> Document:
        """As a definition file has it."""
        return _present(
            {
                "name": self.name,
                "type": self.type,
                "expression": self.expression,
                "on_error": self.on_error,
                "description": self.description,
            }
        )


@dataclass(frozen=True)
class ViewUse:
    """A service's use of a view: some of its features, under an alias, with keys found in other columns."""

    view: str
    features: Sequence[str] | None = None
    alias: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> Document:
        """As a definition file has it."""
        features = None if self.features is None else list(self.features)
        return _present({"view": self.view, "features": features, "alias": self.alias, "keys": dict(self.keys)})


@dataclass(frozen=True)
class FeatureView(About):
    """Features of the same entities from the same source.

    `availability` is `"event"`, `"created"`, `"commit"` or a `timedelta` after the event; the default is `created` where the
    source has a created time. Spans are `timedelta`s or texts such as `6h`. `nulls="skip"` gives training rows, for a feature
    that is null in the newest observation, the latest value that is not; it needs `online=False`.

    `schedule` is when the view is materialized by itself: `"on_commit"`, a span, or a cron expression in UTC. `freshness` is
    how far what is served may stay behind the table; served rows older than `retention` are deleted.
    """

    name: str
    entities: Sequence[Entity | str]
    source: Source | str
    features: Sequence[Feature]
    key_columns: Mapping[str, str] = field(default_factory=dict)
    ttl: Span | None = None
    serve_ttl: Span | None = None
    availability: str | timedelta | None = None
    exclusive: bool = False
    online: bool = True
    nulls: str = "keep"
    schedule: str | timedelta | None = None
    freshness: Span | None = None
    retention: Span | None = None

    def __getitem__(self, features: str | tuple[str, ...]) -> ViewUse:
        """The view with only these features: `weather["temp"]`, `weather["temp", "wind_speed"]`."""
        return self.use(features=[features] if isinstance(features, str) else features)

    def use(
        self,
        *,
        features: Sequence[str] | None = None,
        alias: str | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> ViewUse:
        """The view as a service uses it."""
        known = {feature.name for feature in self.features}
        if unknown := [name for name in features or () if name not in known]:
            raise InvalidError(
                f"view `{self.name}` has no feature {', '.join(unknown)}; it has {', '.join(sorted(known))}"
            )
        return ViewUse(self.name, features, alias, keys or {})

    def document(self) -> Document:
        """As a definition file has it."""
        availability = self.availability
        return _present(
            {
                "name": self.name,
                "entities": [_name(entity) for entity in self.entities],
                "source": _name(self.source),
                "key_columns": dict(self.key_columns),
                "ttl": _span(self.ttl),
                "serve_ttl": _span(self.serve_ttl),
                "availability": {"delay": _span(availability)} if isinstance(availability, timedelta) else availability,
                "bounds": {"upper": "exclusive"} if self.exclusive else None,
                "nulls": None if self.nulls == "keep" else self.nulls,
                "online": None if self.online else False,
                "schedule": _schedule(self.schedule),
                "freshness": _span(self.freshness),
                "retention": _span(self.retention),
                "features": [feature.document() for feature in self.features],
                **self._about(),
            },
            keep=("entities",),
        )


@dataclass(frozen=True)
class FeatureService(About):
    """What a model asks for.

    `computed` are features computed when they are asked for, from those of the views and from `request`: columns that a
    lookup brings along and a spine has, name to type.
    """

    name: str
    views: Sequence[FeatureView | ViewUse | str]
    includes: Sequence[FeatureService | str] = ()
    full_names: bool = False
    request: Mapping[str, str] = field(default_factory=dict)
    computed: Sequence[Computed] = ()

    def document(self) -> Document:
        """As a definition file has it."""
        uses = [view if isinstance(view, ViewUse) else ViewUse(_name(view)) for view in self.views]
        return _present(
            {
                "name": self.name,
                "includes": [_name(service) for service in self.includes],
                "full_names": self.full_names or None,
                "views": [use.document() for use in uses],
                "request": [{"name": name, "type": of} for name, of in self.request.items()],
                "computed": [feature.document() for feature in self.computed],
                **self._about(),
            }
        )


Definition: TypeAlias = Entity | Source | FeatureView | FeatureService
Definitions: TypeAlias = str | Path | Mapping[str, Any] | Definition | Iterable[str | Path | Definition]

_DEFINITIONS = (Entity, Source, FeatureView, FeatureService)
_SECTIONS: dict[type, str] = {
    Entity: "entities",
    Source: "sources",
    FeatureView: "feature_views",
    FeatureService: "feature_services",
}


def to_document(definitions: Iterable[Definition], project: str) -> Document:
    """One version 1 document of all definitions."""
    document: Document = {"version": 1, "project": project}
    for section in _SECTIONS.values():
        document[section] = []
    for definition in definitions:
        document[_SECTIONS[type(definition)]].append(definition.document())
    return _present(document)


def to_yaml(definitions: Iterable[Definition] | Mapping[str, Any], project: str | None = None) -> str:
    """The definitions, or a document, as the text of a definition file.

    >>> print(to_yaml([Entity("plane", {"tailnum": "string"})], "flights"), end="")
    version: 1
    project: flights
    entities:
      - name: plane
        keys:
          - name: tailnum
            type: string
    """
    if isinstance(definitions, Mapping):
        document = dict(definitions)
        if project is not None:
            document = {"version": 1, "project": project, **document}
        return "\n".join(_lines(document)) + "\n"
    if project is None:
        raise InvalidError("definitions in Python need a project; say project=…, or Client(project=…)")
    return "\n".join(_lines(to_document(definitions, project))) + "\n"


def files(definitions: Definitions, project: str | None) -> list[registry_pb2.DefinitionFile]:
    """The definition files that paths, a document or Python definitions stand for."""
    if isinstance(definitions, (str, Path)):
        return _read([definitions])
    if isinstance(definitions, Mapping):
        return [_generated(to_yaml(definitions, None if "project" in definitions else project))]
    items = [definitions] if isinstance(definitions, _DEFINITIONS) else list(definitions)
    built = [item for item in items if isinstance(item, _DEFINITIONS)]
    paths = [item for item in items if isinstance(item, (str, Path))]
    if len(built) + len(paths) != len(items):
        other = next(item for item in items if not isinstance(item, (str, Path, *_DEFINITIONS)))
        raise InvalidError(
            f"{type(other).__name__} is no definition; give paths, a document, or Entity, Source, FeatureView…"
        )
    found = _read(paths)
    return [*found, _generated(to_yaml(built, project))] if built else found


def _generated(text: str) -> registry_pb2.DefinitionFile:
    return registry_pb2.DefinitionFile(path="<python>", content=text.encode())


def _read(paths: Iterable[str | Path]) -> list[registry_pb2.DefinitionFile]:
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in (".yaml", ".yml") and p.is_file())
            if not inside:
                raise InvalidError(f"the folder {path} holds no .yaml file; check the path")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InvalidError(f"there is no file or folder {path}; check the path")
    return [registry_pb2.DefinitionFile(path=str(path), content=path.read_bytes()) for path in found]


def _name(definition: Any) -> str:
    return definition if isinstance(definition, str) else str(definition.name)


def _columns(columns: Mapping[str, str]) -> list[Document]:
    return [{"name": name, "type": of} for name, of in columns.items()]


def _table(table: str | Mapping[str, str] | Query) -> str | Document:
    if isinstance(table, Query):
        return {"query": table.document()}
    return table if isinstance(table, str) else dict(table)


def _relation(read: Source | FeatureView | str) -> str:
    """A name as it is; what is known to be a source or a view by its full name."""
    if isinstance(read, str):
        return read
    return f"{'sources' if isinstance(read, Source) else 'views'}.{read.name}"


def _schedule(schedule: str | timedelta | None) -> str | Document | None:
    """A text with spaces, or a nickname such as `@hourly`, is a cron expression; any other than `on_commit` a span."""
    if schedule is None:
        return None
    if schedule == "on_commit":
        return "on_commit"
    if isinstance(schedule, str) and (" " in schedule or schedule.startswith("@")):
        return {"cron": schedule}
    return {"every": _span(schedule)}


def _present(document: Document, keep: tuple[str, ...] = ()) -> Document:
    """Without what was not said: nulls, empty lists and empty maps."""
    return {key: value for key, value in document.items() if key in keep or value not in (None, [], {})}


_UNITS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1))


def _span(span: Span | None) -> str | None:
    """A span in the largest unit that is exact."""
    if span is None or isinstance(span, str):
        return span
    micros = span // timedelta(microseconds=1)
    unit, size = next((unit, size) for unit, size in _UNITS if micros % size == 0)
    return f"{micros // size}{unit}"


# Texts that YAML would read as something else than the text itself stay quoted.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*")
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def _lines(value: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, item in value.items():
        name = f"{indent}{_scalar(str(key))}:"
        if isinstance(item, Mapping) and item:
            lines += [name, *_lines(item, indent + "  ")]
        elif isinstance(item, (list, tuple)) and item:
            lines += [name, *_items(item, indent + "  ")]
        else:
            lines.append(f"{name} {_scalar(item)}")
    return lines


def _items(items: Sequence[Any], indent: str) -> list[str]:
    lines = []
    for item in items:
        if isinstance(item, Mapping) and item:
            first, *rest = _lines(item, indent + "  ")
            lines += [f"{indent}- {first.lstrip()}", *rest]
        else:
            lines.append(f"{indent}- {_scalar(item)}")
    return lines


def _scalar(value: Any) -> str:
    """Anything that is not a plain word goes as JSON, which YAML reads."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    if isinstance(value, timedelta):
        return str(_span(value))
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidError(f"{value!r} can't stand in a definition file: {error}") from error
