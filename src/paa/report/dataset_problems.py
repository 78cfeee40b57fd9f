"""The problems of a data set as lines for the terminal, by their kind, the serious ones first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from paa.config import ModelConfig
from paa.data.read_report import counted
from paa.inspection.check import Checked
from paa.inspection.problems import KINDS, Problem

_STYLES = {"error": "bold red", "warning": "bold yellow", "hint": "bold cyan"}


def problem_lines(problems: Sequence[Problem], show: int) -> Iterator[Text]:
    """Yield a heading for each kind of problem that there is, and its first `show` problems; 0: all of them."""
    for kind in KINDS:
        own = [problem for problem in problems if problem.kind == kind]
        if not own:
            continue
        yield Text.assemble((kind.level, _STYLES[kind.level]), f": {kind.title}: {len(own)}")
        shown = own[:show] if show else own
        for problem in shown:
            yield Text(f"  {problem.split}: {problem.message}")
        if len(shown) < len(own):
            yield Text(f"  and {len(own) - len(shown)} more (--show 0 prints all, --json too)")


def summary_lines(checked: Checked, config: ModelConfig, size_from: str) -> Iterator[Text]:
    """Yield lines on what was checked, and how many problems there are. size_from: where size and anchors are from."""
    for split, index in checked.splits.items():
        parts = (len(index), "image"), (len(index.boxes), "object"), (len(index.names), "class")
        yield Text(f"{split}: {', '.join(counted(number, noun) for number, noun in parts)}")
    sides = [round(config.anchor_scale * stride) for stride in (config.strides[0], config.strides[-1])]
    yield Text(
        f"size of training {size_from}: short side {config.min_size}, long side at most {config.max_size} pixels; "
        f"anchors of {sides[0]} to {sides[1]} pixels"
    )
    for split, found in checked.positives.items():
        yield Text(
            f"{split}: {found.objects} objects get {found.median:g} positives in the median, {found.least} to "
            f"{found.most}"
        )
    counts = ", ".join(f"{checked.count(level)} {level}{'' if checked.count(level) == 1 else 's'}" for level in _STYLES)
    clean = not checked.count("error") and not checked.count("warning")
    yield Text(f"{counts}: {'clean' if clean else 'problems found'}", "bold")
