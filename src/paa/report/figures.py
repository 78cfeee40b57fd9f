"""Figures for plots, as PNG files: made where matplotlib is installed, with plain axes, and written whole."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paa.drawing.palette import class_colour
from paa.runtime.extras import not_installed
from paa.runtime.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger("paa")

GREY = "#555555"


def new_figure(width: float, height: float, out: Path) -> Figure | None:
    """Return an empty figure of this size in inches; without matplotlib None, and a warning that names `out`."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        log.warning(f"{out} is not drawn: {not_installed('matplotlib', 'plots')}")
        return None
    return Figure(figsize=(width, height), layout="constrained")


def plain_axes(axes: Any) -> None:
    """Remove the parts of the axes that are not needed to read the values."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7, colors=GREY)


def save_figure(figure: Figure, out: Path) -> None:
    """Write a PNG; missing folders are made. Characters that no font has are drawn as boxes, which is logged once."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    out.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    with whole_file(out) as temporary, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(temporary, dpi=120, format="png")
    missing = False
    for warning in caught:
        if str(warning.message).startswith("Glyph "):
            missing = True
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if missing:
        log.warning(f"{out}: matplotlib's fonts lack characters of the class names, which are drawn as boxes")


def hex_colour(label: int) -> str:
    """Return the colour of a class for matplotlib."""
    return "#{:02x}{:02x}{:02x}".format(*class_colour(label))


def shortened(name: str, most: int = 18) -> str:
    """Return a name, cut to end in an ellipsis if it has more letters."""
    return name if len(name) <= most else name[: most - 1] + "…"
