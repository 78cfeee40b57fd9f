"""Plots, as PNG files: precision-recall curves with their operating points, and losses over a training run.

Without matplotlib none is drawn, and one line says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paa.errors import RunError
from paa.evaluation.operating_point import ClassCurve, envelope
from paa.report.figures import GREY, hex_colour, new_figure, plain_axes, save_figure, shortened

_LOSSES = {
    "loss": "total",
    "loss_classification": "classification",
    "loss_box": "box",
    "loss_iou": "IoU prediction",
}


def precision_recall_curves(curves: Sequence[ClassCurve], out: Path, *, most: int = 24) -> None:
    """Write one small plot for each class: its curve, and the rectangle of its best precision x recall.

    curves: by label, as `precision_recall` returns them. Only classes with objects are shown, and only the `most` with
    the most objects. Raises RunError if no class has objects.
    """
    known = [label for label, curve in enumerate(curves) if curve.objects]
    if not known:
        raise RunError("no precision-recall curves to draw: the evaluated images have no objects")
    shown = sorted(sorted(known, key=lambda label: -curves[label].objects)[:most])
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure(max(3.2 * columns, 4.2), 3.1 * rows + 0.5, out)
    if figure is None:
        return
    for place, label in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, columns, place)
        _draw_curve(axes, curves[label])
        axes.label_outer()
    more = f" ({len(shown)} classes of {len(known)}: those with the most objects)" if len(shown) < len(known) else ""
    figure.suptitle(f"Best threshold by precision × recall{more}", fontsize=10)
    save_figure(figure, out)


def training_curves(log: Path, out: Path) -> None:
    """Write the losses and the learning rate over the steps of a training run.

    log: JSON lines; those with numbers for step, lr, loss, loss_classification, loss_box and loss_iou count. Any others
    are passed over, as those of a step whose loss is not finite, and so is a last line cut short. Of a step logged
    twice (by a resumed run) the later line counts.
    Raises RunError if the log has no steps.
    """
    steps = _read_steps(log)
    x = np.array(list(steps))
    figure = new_figure(10, 5.6, out)
    if figure is None:
        return
    halves: Any = figure.subfigures(1, 2, width_ratios=(3, 2))
    left, right = halves
    total, lr = left.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    parts = right.subplots(3, 1, sharex=True)
    for label, (axes, key) in enumerate(zip((total, *parts), _LOSSES)):
        _draw_loss(axes, x, np.array([line[key] for line in steps.values()], dtype=np.float64), hex_colour(label))
        axes.set_title(f"{_LOSSES[key]} loss", fontsize=9, loc="left")
    lr.plot(x, [line["lr"] for line in steps.values()], color=GREY, linewidth=1.2)
    lr.set_title("learning rate", fontsize=9, loc="left")
    for axes in (total, lr, *parts):
        plain_axes(axes)
        axes.set_ylim(bottom=0)
    for axes in (lr, parts[-1]):
        axes.set_xlabel("step", fontsize=8)
    save_figure(figure, out)


def _draw_curve(axes: Any, curve: ClassCurve) -> None:
    """Draw the curve of one class, and its operating point, into its axes."""
    colour = hex_colour(0)
    axes.step(curve.recall, curve.precision, where="pre", color=colour, linewidth=0.8, alpha=0.6)
    best = envelope(curve.precision)
    if len(best):
        recall = np.concatenate([[0.0], curve.recall])
        axes.step(recall, np.concatenate([best[:1], best]), where="pre", color=colour, linewidth=1.8)
    point = curve.point
    if point:
        axes.fill_between([0, point.recall], point.precision, color=colour, alpha=0.15, linewidth=0)
        axes.plot(point.recall, point.precision, "o", color="black", markersize=4)
        text = f"score ≥ {point.threshold:.3f}\nprecision {point.precision:.2f}\nrecall {point.recall:.2f}"
        axes.text(
            max(point.recall / 2, 0.22), max(point.precision / 2, 0.12), text, ha="center", va="center", fontsize=8
        )
    else:
        axes.text(0.5, 0.5, "none found", ha="center", va="center", fontsize=8, color=GREY)
    title = f"{shortened(curve.name)}: AP {100 * (curve.ap or 0):.1f}, {curve.objects} objects"
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.04)
    axes.set_xlabel("recall", fontsize=8)
    axes.set_ylabel("precision", fontsize=8)
    plain_axes(axes)


def _draw_loss(axes: Any, x: npt.NDArray[np.int64], loss: npt.NDArray[np.float64], colour: str) -> None:
    """Draw a loss: every value faintly, its running mean over a fiftieth of the run in full."""
    axes.plot(x, loss, color=colour, linewidth=0.6, alpha=0.35)
    window = max(1, len(loss) // 50)
    sums = np.concatenate([[0.0], np.cumsum(loss)])
    starts = np.maximum(np.arange(1, len(loss) + 1) - window, 0)
    ends = np.arange(1, len(loss) + 1)
    axes.plot(x, (sums[ends] - sums[starts]) / (ends - starts), color=colour, linewidth=1.6)


def _read_steps(log: Path) -> dict[int, dict[str, float]]:
    """Return the logged values by step, ascending."""
    steps = {}
    for text in log.read_text().splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and not [key for key in ("step", "lr", *_LOSSES) if line.get(key) is None]:
            steps[int(line["step"])] = line
    if not steps:
        raise RunError(f"{log}: has no training steps; each is a line of JSON with step, lr and {', '.join(_LOSSES)}")
    return dict(sorted(steps.items()))
