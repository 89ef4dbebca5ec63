"""Rows that are computed from others: what a refresh did to the table of a query, and where features come from."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate._proto.derived.v1 import derived_pb2


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did to the table of one query; `inputs` are the versions that its rows come from now, by name."""

    source: str
    version: int
    changed: bool
    full: bool
    rows: int
    inputs: dict[str, int]


@dataclass(frozen=True)
class Place:
    """A column of a source, or a key, time or feature of a view; without a column, all rows of a query."""

    kind: str
    name: str
    column: str

    def __str__(self) -> str:
        section = "views" if self.kind == "feature_view" else "sources"
        return ".".join(part for part in (section, self.name, self.column) if part)


@dataclass(frozen=True)
class LineageStep:
    """How a place is computed from others: `by` is `column`, `query`, `rows`, or an aggregate."""

    to: Place
    sources: tuple[Place, ...]
    by: str


class Lineage:
    """Where a view's features come from. A place that no step leads to is a column of a table."""

    def __init__(self, view: str, steps: tuple[LineageStep, ...]) -> None:
        self.view = view
        self.steps = steps
        self._by_place = {step.to: step for step in steps}

    def columns(self, feature: str) -> list[Place]:
        """The columns of tables that a feature is computed from, however many queries lie in between; by name."""
        found: set[Place] = set()
        seen: set[Place] = set()
        queue = [Place("feature_view", self.view, feature)]
        if queue[0] not in self._by_place:
            raise KeyError(f"view {self.view} has no feature {feature}")
        while queue:
            place = queue.pop()
            if place in seen:
                continue
            seen.add(place)
            step = self._by_place.get(place)
            if step is None:
                found.add(place)
            else:
                queue.extend(step.sources)
        return sorted(found, key=str)

    def __repr__(self) -> str:
        return f"Lineage({self.view!r}, {len(self.steps)} steps)"


def refreshed(reply: derived_pb2.RefreshResponse) -> list[Refreshed]:
    """A reply as the client's types."""
    return [
        Refreshed(it.source, it.version, it.changed, it.full, it.rows, {at.name: at.version for at in it.inputs})
        for it in reply.sources
    ]


def lineage(view: str, reply: derived_pb2.LineageResponse) -> Lineage:
    """A reply as the client's type."""
    steps = (LineageStep(_place(it.to), tuple(_place(at) for at in getattr(it, "from")), it.by) for it in reply.steps)
    return Lineage(view, tuple(steps))


def _place(message: derived_pb2.Place) -> Place:
    return Place(message.kind, message.name, message.column)
