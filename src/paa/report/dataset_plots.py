"""Plots of what a data set holds, on one page, as a PNG file.

Without matplotlib nothing is drawn, and one line says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.inspection.stats import Measures, measures
from paa.report.figures import hex_colour, new_figure, plain_axes, save_figure, shortened

_MOST_CLASSES = 24
_BINS = 32
_SIDES = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 1024, 2048)
_PERCENTS = (0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 50, 100)
_ASPECTS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10)


def dataset_plots(splits: Mapping[str, DatasetIndex], out: Path) -> None:
    """Write a page of six plots, with a colour for each split: classes, objects of an image, sizes and shapes.

    Of more than 24 classes those with most objects are shown. Heights of histograms are shares of their split, so that
    splits of any size can be compared.
    """
    figure = new_figure(13, 7.4, out)
    if figure is None:
        return
    measured = {split: measures(index) for split, index in splits.items()}
    panels = iter(figure.subplots(2, 3).ravel())
    _draw_classes(axes_of_classes := next(panels), splits, measured)
    _draw_image_sizes(next(panels), splits)
    counts = {split: np.bincount(one.image, minlength=len(splits[split])) for split, one in measured.items()}
    _draw_histogram(next(panels), counts, "objects of an image, share of the images")
    for title, name, factor, ticks in (
        ("side of objects in pixels (of the square of their area)", "side", 1, _SIDES),
        ("area of objects in percent of the image", "share", 100, _PERCENTS),
        ("width by height of objects", "aspect", 1, _ASPECTS),
    ):
        values = {split: factor * getattr(one, name) for split, one in measured.items()}
        _draw_histogram(next(panels), values, title, ticks)
    handles = axes_of_classes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper right", ncols=len(splits), fontsize=9, frameon=False)
    save_figure(figure, out)


def _draw_classes(axes: Any, splits: Mapping[str, DatasetIndex], measured: Mapping[str, Measures]) -> None:
    """Draw bars for the objects of each class in each split, the most frequent class at the top."""
    (first, *_) = splits.values()
    counts = np.stack([np.bincount(one.labels, minlength=len(first.names)) for one in measured.values()])
    shown = np.argsort(-counts.sum(0), kind="stable")[:_MOST_CLASSES]
    thickness = 0.8 / len(splits)
    for k, split in enumerate(splits):
        places = np.arange(len(shown)) + (k - (len(splits) - 1) / 2) * thickness
        axes.barh(places, counts[k, shown], thickness, color=hex_colour(k), label=split)
    axes.set_yticks(np.arange(len(shown)), [shortened(first.names[label]) for label in shown], parse_math=False)
    axes.invert_yaxis()
    more = f" ({len(shown)} classes of {len(first.names)})" if len(shown) < len(first.names) else ""
    _finish(axes, f"objects of each class{more}")


def _draw_image_sizes(axes: Any, splits: Mapping[str, DatasetIndex]) -> None:
    """Draw a disc for each size of images, its area by how many have it."""
    most = 0
    for k, index in enumerate(splits.values()):
        sizes, counts = np.unique(index.sizes, axis=0, return_counts=True)
        axes.scatter(
            sizes[:, 1], sizes[:, 0], 12 + 400 * counts / len(index), color=hex_colour(k), alpha=0.5, linewidth=0
        )
        most = max(most, int(index.sizes.max()))
    axes.set_xlim(0, 1.1 * most)
    axes.set_ylim(0, 1.1 * most)
    axes.set_aspect("equal")
    axes.set_xlabel("width, pixels", fontsize=8)
    axes.set_ylabel("height, pixels", fontsize=8)
    _finish(axes, "sizes of images")


def _draw_histogram(
    axes: Any, values: Mapping[str, npt.NDArray[Any]], title: str, ticks: tuple[float, ...] = ()
) -> None:
    """Draw the outline of a histogram for each split. ticks: of a logarithmic axis; none: values are whole numbers."""
    drawn = np.concatenate(list(values.values()))
    if len(drawn):
        edges = _log_edges(drawn) if ticks else _whole_edges(drawn)
        for k, own in enumerate(values.values()):
            heights = np.histogram(own, edges)[0] / max(1, len(own))
            axes.stairs(heights, edges, color=hex_colour(k), linewidth=1.5)
            axes.stairs(heights, edges, color=hex_colour(k), alpha=0.12, fill=True)
        if ticks:
            axes.set_xscale("log")
            shown = _legible(ticks, edges[0], edges[-1])
            axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
            axes.set_xticks([], minor=True)
        else:
            axes.xaxis.get_major_locator().set_params(integer=True)
    _finish(axes, title)


def _legible(ticks: tuple[float, ...], low: float, high: float) -> list[float]:
    """Return the ticks of a logarithmic axis whose labels do not touch: each a twelfth of the axis after the last."""
    shown: list[float] = []
    for tick in ticks:
        if low <= tick <= high and (not shown or tick >= shown[-1] * (high / low) ** (1 / 12)):
            shown.append(tick)
    return shown


def _log_edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.geomspace(0.95 * values.min(), 1.05 * values.max(), _BINS + 1)


def _whole_edges(values: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return edges between whole numbers, as many in each bin as make no more than 64 bins."""
    step = -(-(int(values.max()) - int(values.min()) + 1) // (2 * _BINS))
    return np.arange(values.min(), values.max() + 1 + step, step) - 0.5


def _finish(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=9, loc="left")
    plain_axes(axes)
