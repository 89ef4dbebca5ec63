"""What was measured: the machine, medians, the printed table, and the blocks of docs/benchmarks.md made from it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import statistics
import subprocess
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, FLIGHT, IN_PROCESS, PEERS
from processes import Programs
from shapes import SHAPES

Result = dict[str, Any]

COLUMNS = ("wall s", "CPU s", "peak MB", "x ours")
PARTS = {"floor_seconds": "floor", "index_time": "index", "scan_time": "scan", "gather_time": "gather"}
FLOOR_COLUMNS = (*PARTS.values(), "scan / floor")


# The machine


def machine(programs: Programs) -> dict[str, Any]:
    """What the figures depend on, beside the settings; of our own programs their very bytes."""
    cpu = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in cpu.splitlines() if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) >> 20
    versions = {name: importlib.metadata.version(name) for name in ("duckdb", "polars", "pyarrow")}
    said = subprocess.run([programs.server, "--version"], capture_output=True, text=True).stdout
    versions |= {"tidegate": said.split()[-1], "build": digest(programs.server) + digest(programs.pit)}
    return {"cpu": models[0] if models else os.uname().machine, "cores": os.cpu_count(), "gib": memory, **versions}


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:8]


# Results: one file, shape by shape, so that a long bench can be run in parts.


def load(path: Path, header: dict[str, Any]) -> Result:
    """The results so far, where machine and settings are the same; else none."""
    if path.exists():
        found: Result = json.loads(path.read_text())
        if {name: found.get(name) for name in header} == header:
            return found
    return {**header, "shapes": {}}


def save(path: Path, results: Result) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1))


def measured(results: Result) -> list[tuple[str, Result]]:
    """The shapes there are results of, in the order of the table of shapes."""
    names = [shape.name for shape in SHAPES]
    return sorted(results["shapes"].items(), key=lambda item: names.index(item[0]))


def median(result: Result, who: str, what: str) -> float | None:
    runs = result["runs"].get(who, [])
    return statistics.median(run[what] for run in runs) if runs else None


# The table


def rows(results: Result) -> list[list[str]]:
    """Shape, contender and the four figures, or why there are none."""
    table = []
    for name, result in measured(results):
        ours = median(result, IN_PROCESS, "seconds")
        for who in CONTENDERS:
            if who in result["failed"]:
                table.append([name, CONTENDERS[who], result["failed"][who], "", "", ""])
            elif who in result["runs"]:
                table.append([name, CONTENDERS[who], *figures(result, who, ours)])
    return table


def figures(result: Result, who: str, ours: float | None) -> list[str]:
    wall, cpu, peak = (median(result, who, what) or 0.0 for what in ("seconds", "cpu_seconds", "peak_mb"))
    ratio = f"{wall / ours:.2f}" if ours else "–"
    return [f"{wall:.3f}", f"{cpu:.2f}", f"{peak:.0f}", ratio]


def show(results: Result) -> None:
    """Prints the table, and what the join's phases took beside the floor."""
    print(f"\n{'shape':14} {'':28} " + " ".join(f"{column:>9}" for column in COLUMNS))
    before = ""
    for name, who, *values in rows(results):
        if name != before and before:
            print()
        line = f"  {values[0]}" if not values[1] else " ".join(f"{value:>9}" for value in values)
        print(f"{name if name != before else '':14} {who.replace('`', ''):28} {line}")
        before = name
    if floors(results):
        print(f"\n{'seconds':14} " + " ".join(f"{part:>12}" for part in FLOOR_COLUMNS))
        for name, *values in floors(results):
            print(f"{name:14} " + " ".join(f"{value:>12}" for value in values))


def floors(results: Result) -> list[list[str]]:
    """Per shape the floor and the join's parts, in seconds, and how many times the floor the scan takes."""
    table = []
    for name, result in measured(results):
        floor = result.get("floor", [])
        if floor:
            parts = [part_median(floor, part) for part in PARTS]
            scan, least = parts[list(PARTS).index("scan_time")], parts[0]
            table.append([name, *map(seconds, parts), f"{scan / least:.1f}" if scan and least else "–"])
    return table


def part_median(runs: list[Result], part: str) -> float | None:
    told = [run[part] for run in runs if run.get(part) is not None]
    return statistics.median(told) if told else None


def seconds(part: float | None) -> str:
    return "–" if part is None else f"{part:.3f}"


# docs/benchmarks.md


def write_docs(path: Path, results: Result) -> None:
    """Puts the figures between the document's markers."""
    text = path.read_text()
    for block, lines in (("shapes", shape_list()), ("figures", figure_block(results)), ("losses", losses(results))):
        begin, end = f"<!-- {block}: begin -->", f"<!-- {block}: end -->"
        head, found, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise SystemExit(f"{path} lacks the markers {begin} and {end}")
        text = "\n".join([head + begin, "", *lines, "", end + tail])
    path.write_text(text)


def shape_list() -> list[str]:
    lines = ["| shape | |", "| --- | --- |"]
    return lines + [f"| `{shape.name}` | {shape.about} |" for shape in SHAPES]


def figure_block(results: Result) -> list[str]:
    machine, settings = results["machine"], results["settings"]
    days = sorted({result["measured"][:10] for result in results["shapes"].values()})
    said = [
        ", ".join(days),
        f"{machine['cpu']}, {machine['cores']} cores, {machine['gib']} GiB; each uses {settings['threads']} cores",
        ", ".join(f"{name} {machine[name.lower()]}" for name in ("Tidegate", "DuckDB", "Polars", "pyarrow")),
        f"scale {settings['scale']:g}, medians of {settings['runs']}",
    ]
    lines = [" · ".join(said), ""]
    if settings["scale"] != 1:
        small = f"**A small run, {settings['scale']:g} of the sizes the shapes are named for.**"
        lines += [f"{small} It shows the form; at such sizes fixed costs decide.", ""]
    lines += ["| shape | | wall s | CPU s | peak MB | × ours |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    before = ""
    for name, *values in rows(results):
        lines.append(f"| {f'`{name}`' if name != before else ''} | {' | '.join(values)} |")
        before = name
    if floors(results):
        lines += ["", "| seconds | " + " | ".join(FLOOR_COLUMNS) + " |", "| --- |" + " ---: |" * len(FLOOR_COLUMNS)]
        lines += [f"| `{name}` | {' | '.join(values)} |" for name, *values in floors(results)]
    return lines


def losses(results: Result) -> list[str]:
    """Every shape where the better peer is faster or leaner than the join in process, or through Flight."""
    lines = [line for name, result in measured(results) for line in losses_of(name, result)]
    if not lines:
        return ["In none of the shapes above is a peer faster or leaner."]
    head = "| shape | | wall s | better peer | peak MB | better peer |"
    return [head, "| --- | --- | ---: | ---: | ---: | ---: |", *lines]


def losses_of(name: str, result: Result) -> list[str]:
    lines = []
    for who in (IN_PROCESS, FLIGHT):
        if who in result["failed"]:
            lines.append(f"| `{name}` | {CONTENDERS[who]} | {result['failed'][who]} | | | |")
            continue
        wall, peak = beside(result, who, "seconds", ".3f"), beside(result, who, "peak_mb", ".0f")
        if wall[2] or peak[2]:
            cells = [f"**{ours}** | {theirs}" if lost else f"{ours} | " for ours, theirs, lost in (wall, peak)]
            lines.append(f"| `{name}` | {CONTENDERS[who]} | {cells[0]} | {cells[1]} |")
    return lines


def beside(result: Result, who: str, what: str, form: str) -> tuple[str, str, bool]:
    """A median of ours, that of the peer with the smaller one, and whether the peer's is smaller than ours."""
    ours = median(result, who, what)
    best = min(((it, peer) for peer in PEERS if (it := median(result, peer, what)) is not None), default=None)
    if ours is None or best is None:
        return "–", "", False
    return format(ours, form), f"{CONTENDERS[best[1]].split()[0]} {best[0]:{form}}", best[0] < ours
