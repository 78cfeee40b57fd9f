"""Write docs/benchmarks.md and its plots from the lines that `run.py` collected.

python benchmarks/report.py
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from goals import GOALS, Target

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CPU_FILE = DOCS / "benchmarks.jsonl"
GPU_FILE = DOCS / "benchmarks-cuda.jsonl"
NOTES = DOCS / "benchmarks-notes.md"
# How far a slope may lie above that of n log n over the same points: timings scatter
SLACK = 0.1
UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))

HEADINGS = {
    "case": "case",
    "ours_s": "ours",
    "peer": "peer",
    "peer_s": "peer's",
    "ratio": "ratio",
    "device_s": "on the device",
    "goal_s": "goal",
    "ours_per_s": "ours, a second",
    "peer_per_s": "peer's, a second",
    "ours_peak_mb": "ours, MB",
    "peer_peak_mb": "peer's, MB",
    "memory_ratio": "ratio of memory",
    "spread": "quartiles",
}


class Measurements(NamedTuple):
    """The description of one machine and the lines measured on it, those about runs among them."""

    machine: dict[str, Any]
    lines: list[dict[str, Any]]

    def runs(self) -> list[dict[str, Any]]:
        """Return the lines that say how the scripts were run."""
        return [line for line in self.lines if "run" in line]


class Curve(NamedTuple):
    """How time, or memory, grows with n: ours, or a peer's."""

    benchmark: str
    x: str
    name: str
    peer: str
    what: str
    n: list[float]
    values: list[float]

    def label(self) -> str:
        """Return the curve's name in the plot."""
        return ", ".join(part for part in (self.name, self.peer or "ours") if part)


def read(path: Path) -> Measurements | None:
    """Read a file of lines, None if there is none."""
    if not path.exists():
        return None
    first, *lines = (json.loads(text) for text in path.read_text().splitlines() if text)
    return Measurements(first["machine"], lines)


def write_lines(path: Path, machine: dict[str, Any], lines: Sequence[dict[str, Any]]) -> None:
    """Write a file of lines, at once."""
    part = path.with_suffix(".part")
    part.write_text("".join(json.dumps(line) + "\n" for line in ({"machine": machine}, *lines)))
    part.replace(path)


# Numbers as text


def seconds_text(seconds: float) -> str:
    """Return a time with three digits in its unit."""
    unit, size = next((pair for pair in UNITS if seconds >= pair[1]), UNITS[-1])
    value = seconds / size
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def target_text(value: float, style: str) -> str:
    """Return a target's limit or a measured value as text."""
    if style == "speed-up":
        faster = 1 / value
        return f"{faster:.0f}×" if faster >= 10 or round(faster, 6).is_integer() else f"{faster:.1f}×"
    if style == "share":
        return f"{100 * value:.2g} %"
    if style == "MB":
        return f"{value:.0f} MB"
    return seconds_text(value) if style == "seconds" else f"{value:.2g}" if value < 1 else f"{value:.2f}"


def cell_text(key: str, value: Any, line: dict[str, Any]) -> str:
    """Return a field of a line as text."""
    if key == "spread":
        return " to ".join(seconds_text(v) if "device_s" in line else f"{v:.3g}" for v in value)
    if key.endswith("_s") and not key.endswith("_per_s"):
        return seconds_text(value)
    if key == "share":
        return f"{100 * value:.2g} %"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value).replace("|", "\\|")
    if key in ("ratio", "memory_ratio"):
        return f"{value:.3g} (1/{1 / value:.0f})" if 0 < value < 0.3 else f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# Growth


def curves(lines: Sequence[dict[str, Any]]) -> list[Curve]:
    """Return the growth curves, each sorted by n: of every line that has `n` and a time or a memory.

    Time is `seconds`, or `ours_s` beside `peer_s`; memory likewise `peak_mb`, or `ours_peak_mb` and `peer_peak_mb`.
    What was too little to measure, 0, is left out.
    """
    points: dict[tuple[str, str, str, str, str], dict[float, float]] = {}
    for line in lines:
        if "n" not in line:
            continue
        own = line.get("peer", "") if "seconds" in line else ""
        name = re.sub(r"^growth\W*", "", line["case"])
        for key, what, peer in (
            ("seconds", "seconds", own),
            ("ours_s", "seconds", ""),
            ("peer_s", "seconds", line.get("peer", "peer")),
            ("peak_mb", "MB", own),
            ("ours_peak_mb", "MB", ""),
            ("peer_peak_mb", "MB", line.get("peer", "peer")),
        ):
            if (line.get(key) or 0) > 0:
                place = (line["benchmark"], line.get("x", "n"), name, peer, what)
                points.setdefault(place, {})[line["n"]] = line[key]
    return [Curve(*place, *map(list, zip(*sorted(values.items())))) for place, values in points.items()]


def upper_part(n: Sequence[float], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the logarithms of n and values in the upper half of the axis, where what is constant weighs little.

    The half is that of log n; it has at least three points, or None is returned. n = 1 is not used: n log n is 0 there.
    """
    pairs = [(a, b) for a, b in zip(n, values) if a > 1]
    if len(pairs) < 3:
        return None
    middle = math.sqrt(pairs[0][0] * pairs[-1][0])
    start = min(len(pairs) - 3, sum(a < middle for a, _ in pairs))
    x, y = zip(*pairs[start:])
    return np.log(x), np.log(y)


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Return the slope of the line of least squares."""
    return float(np.polyfit(x, y, 1)[0])


def growth_rows(found: Sequence[Curve]) -> list[list[str]]:
    """Return the rows of a table: each curve's slope, that of n log n over the same points, and the verdict on ours."""
    rows = []
    for curve in sorted(found, key=lambda c: (c.name, c.peer)):
        part = upper_part(curve.n, curve.values)
        if part is None:
            continue
        x, y = part
        own, allowed = slope(x, y), slope(x, x + np.log(x))
        verdict = "" if curve.peer else "yes" if own <= allowed + SLACK else "**no**"
        over = f"{math.exp(x[0]):,.0f} to {math.exp(x[-1]):,.0f} {curve.x}"
        what = "time" if curve.what == "seconds" else "memory"
        rows.append([curve.label(), what, over, f"{own:.2f}", f"{allowed:.2f}", verdict])
    return rows


def plot(found: Sequence[Curve], path: Path) -> None:
    """Draw curves of one benchmark against one x: times, and memory beside them where it is known."""
    kinds = [what for what in ("seconds", "MB") if any(curve.what == what for curve in found)]
    names = list(dict.fromkeys(curve.name for curve in found))
    peers = list(dict.fromkeys(curve.peer for curve in found if curve.peer))
    styles: dict[str, Any] = {}
    figure = Figure(figsize=(max(6.5, 5.2 * len(kinds)), 4.6), layout="constrained")
    for place, what in enumerate(kinds, start=1):
        axes = figure.add_subplot(1, len(kinds), place)
        shown = [curve for curve in found if curve.what == what]
        for curve in shown:
            # a colour for what is measured; several peers of it differ in their marks
            colour = f"C{names.index(curve.name)}"
            mark = "s^Dv"[peers.index(curve.peer) % 4] + "--" if curve.peer else "o-"
            (drawn,) = axes.loglog(curve.n, curve.values, mark, color=colour, ms=4)
            styles.setdefault(curve.label(), drawn)
        # n log n through the last point of our highest curve, over the upper half
        ours = max((curve for curve in shown if not curve.peer), key=lambda c: c.values[-1], default=None)
        part = upper_part(ours.n, ours.values) if ours else None
        if ours and part:
            x = np.linspace(part[0][0], part[0][-1], 50)
            y = np.exp(x) * x
            (drawn,) = axes.loglog(np.exp(x), y * (ours.values[-1] / y[-1]), ":", color="#555555")
            styles.setdefault("n log n", drawn)
        axes.set_xlabel(found[0].x)
        axes.set_ylabel("time, s" if what == "seconds" else "peak memory, MB")
        axes.grid(True, which="major", color="#dddddd", lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(styles.values(), styles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    FigureCanvasAgg(figure)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def by_axis(found: Sequence[Curve], suffix: str) -> Iterator[tuple[str, list[Curve]]]:
    """Yield each plot's file name and its curves: one plot for a benchmark and what n counts."""
    places = list(dict.fromkeys((curve.benchmark, curve.x) for curve in found))
    for benchmark, x in places:
        several = sum(b == benchmark for b, _ in places) > 1
        word = "-" + re.sub(r"\W+", "-", x.lower()).strip("-") if several else ""
        yield f"growth-{benchmark}{word}{suffix}.png", [c for c in found if (c.benchmark, c.x) == (benchmark, x)]


# The page


def machine_rows(machine: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the table that describes the machine."""
    names = {"memory_gib": "memory, GiB", "gpu_memory_gib": "GPU memory, GiB", "cpu": "CPU", "gpu": "GPU", "os": "OS"}
    names |= {"cuda": "CUDA", "python": "Python"}
    shown = {k: ", ".join(v) if isinstance(v, list) else str(v) for k, v in machine.items()}
    return [[names.get(k, k), v or "none of those looked for"] for k, v in shown.items()]


def goal_cells(target: Target | None, measured: Measurements | None) -> list[str]:
    """Return the goal and what was measured, as texts, empty where there is none."""
    if target is None:
        return ["", ""]
    sign = "≥" if target.style == "speed-up" else "≤"
    asked = f"{sign} {target_text(target.limit, target.style)}"
    value = target.measured(measured.lines) if measured else None
    if value is None:
        return [asked, ""]
    verdict = "met" if value <= target.limit else "**missed**"
    return [asked, f"{target_text(value, target.style)}, {verdict}"]


def case_tables(lines: Sequence[dict[str, Any]]) -> str:
    """Return a benchmark's tables: one for each set of fields that its lines have, growth apart."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for line in lines:
        if "n" not in line:
            keys = [key for key in HEADINGS if key in line and key != "spread"]
            keys += [key for key in line if key not in HEADINGS and key != "benchmark"]
            groups.setdefault((*keys, *(["spread"] if "spread" in line else [])), []).append(line)
    return "\n".join(
        table(
            [HEADINGS.get(key, key.replace("_", " ")) for key in keys],
            [[cell_text(key, line[key], line) for key in keys] for line in group],
        )
        for keys, group in groups.items()
    )


def question(benchmark: str) -> str:
    """Return the first line of the benchmark's docstring, empty if there is no such script."""
    script = Path(__file__).with_name(f"{benchmark}.py")
    if not script.exists():
        return ""
    text = (ast.get_docstring(ast.parse(script.read_text())) or "").splitlines()[0]
    return f"{text} [The script](../benchmarks/{benchmark}.py) describes the cases.\n\n"


def details(measured: Measurements, suffix: str) -> str:
    """Return the tables and the plots of all benchmarks on one machine."""
    names = list(dict.fromkeys(line["benchmark"] for line in measured.lines if "benchmark" in line))
    found = curves(measured.lines)
    parts = []
    for name in names:
        text = f"### {name.replace('_', ' ').capitalize()}\n\n{question(name)}"
        text += case_tables([line for line in measured.lines if line.get("benchmark") == name])
        own = [curve for curve in found if curve.benchmark == name]
        for file, shown in by_axis(own, suffix):
            text += f"\n![{name}: growth with {shown[0].x}](images/{file})\n"
        if rows := growth_rows(own):
            heads = ["growth", "of", "over", "slope", "n log n", "no faster than n log n"]
            text += f"\n{table(heads, rows)}"
        parts.append(text)
    return "\n".join(parts)


def runs_table(measured: Measurements) -> str:
    """Return how each script was run."""
    rows = [
        [f"`{r['command']}`", r["commit"], r["date"], seconds_text(r["took_s"]), str(r["load"])]
        for r in measured.runs()
    ]
    return table(["run", "commit", "date", "took", "load at its start"], rows)


def page(cpu: Measurements | None, gpu: Measurements | None, notes: str) -> str:
    """Return the whole page."""
    rows = [[goal.question, *goal_cells(goal.cpu, cpu), *goal_cells(goal.gpu, gpu)] for goal in GOALS]
    heads = ["question", "goal on two CPU cores", "measured", "goal on an H200-class GPU", "measured"]
    text = f"""# Benchmarks

`make bench` measures everything and writes this page; what it collected is in `docs/benchmarks.jsonl`, and with
`BENCH_FLAGS='--device cuda'` in `docs/benchmarks-cuda.jsonl`. `make bench ONLY=assignment` measures one script's part
again and keeps the others'; `benchmarks/report.py` writes the page anew from the files.

Peers are measured in the same process, in turn with ours; both sides' results are checked to be equal first, where both
compute the same. Times are medians; ratio is ours / peer's (less is better for us), with its quartiles over pairs of
neighbouring runs. Ratios are what counts: seconds depend on the machine and on what else it did at the time, which the
load at the start of a run shows: 0 is a machine that did nothing else.

## Goals and measurements

20× is twenty times as fast as the peer; other numbers are ratios, ours / peer's. An empty cell has no goal or
was not measured.

{table(heads, rows)}
"""
    for measured, title, suffix in ((cpu, "On the CPU", ""), (gpu, "On the GPU", "-cuda")):
        if measured:
            text += f"## {title}\n\n{table(['machine', ''], machine_rows(measured.machine))}\n{runs_table(measured)}\n"
            text += f"{details(measured, suffix)}\n"
    if any(measured and curves(measured.lines) for measured in (cpu, gpu)):
        text += f"""## How it grows

Each slope above is that of the least-squares line through the logarithms of n and of time or memory, over the upper
half of the axis of log n, where constant costs weigh little, and over at least three points. A slope of 1 is growth in
proportion to n. Beside it stands the slope of n log n over the same points; "no faster" is a slope at most {SLACK}
above that, since times scatter. Dashed curves are peers'.

"""
    return text + notes


def write() -> None:
    """Write the page and the plots from the files that there are."""
    cpu, gpu = read(CPU_FILE), read(GPU_FILE)
    for measured, suffix in ((cpu, ""), (gpu, "-cuda")):
        for file, shown in by_axis(curves(measured.lines), suffix) if measured else ():
            plot(shown, DOCS / "images" / file)
    (DOCS / "benchmarks.md").write_text(page(cpu, gpu, NOTES.read_text()))


if __name__ == "__main__":
    write()
