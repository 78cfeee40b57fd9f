"""One object's assignment as plain values that JSON can hold, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from paa.explanation.mixture import ObjectMixture
from paa.explanation.objects import Alternative, Candidates, Level, ObjectAssignment

_FACTS = {
    "scores": ("scores", 5),
    "anchor_ious": ("overlaps", 3),
    "class_probabilities": ("probabilities", 4),
    "predicted_ious": ("predicted_ious", 3),
    "true_ious": ("true_ious", 3),
}
"""Name in a file -> field of `Candidates`, and the number of decimals."""


def to_plain(one: ObjectAssignment) -> dict[str, Any]:
    """Return the numbers of an object; coordinates are pixels of the resized image."""
    positives, candidates = one.per_level()
    columns = {name: _rounded(getattr(one.candidates, field), digits) for name, (field, digits) in _FACTS.items()}
    mixture = None
    if one.mixture is not None:
        mixture = {
            **{name: list(values) for name, values in one.mixture._asdict().items()},
            "separation": round(one.mixture.separation, 4),
            "cuts": one.mixture.cuts(one.candidates.scores),
        }
    return {
        "box": _rounded(one.box, 2),
        "resized_size": list(one.size),
        "area": round(one.area, 1),
        "size": one.size_name,
        "best_anchor_iou": round(one.best_overlap, 4),
        "positives": one.positives,
        "positives_per_level": positives,
        "candidates_per_level": candidates,
        "cut": None if one.cut is None else round(one.cut, 5),
        "mixture": mixture,
        "candidates": {"level": one.candidates.levels.tolist(), "centre": _centres(one.candidates), **columns},
        "what_if": {
            name: {"positives": len(other.levels), "shared": other.shared, "anchors": _places(other)}
            for name, other in one.what_if.items()
        },
    }


def level_to_plain(level: Level) -> dict[str, Any]:
    """Return a level's name, stride and side of its anchors."""
    return level._asdict()


def from_plain(values: dict[str, Any], levels: tuple[Level, ...]) -> ObjectAssignment:
    """Return the object whose numbers these are, without what other rules would do.

    KeyError, TypeError or ValueError where they are not the numbers of an object on these levels.
    """
    columns, mixture = values["candidates"], values["mixture"]
    level = np.array(columns["level"], np.int64)
    half = np.array([one.side for one in levels])[level, None] / 2
    centres = np.array(columns["centre"], np.float64).reshape(-1, 2)
    facts: dict[str, Any] = {field: np.array(columns[name], np.float64) for name, (field, _) in _FACTS.items()}
    if {len(column) for column in (centres, *facts.values())} != {len(level)}:
        raise ValueError("the columns of the candidates differ in length")
    height, width = values["resized_size"]
    return ObjectAssignment(
        image=0,
        row=0,
        label=0,
        box=np.array(values["box"], np.float32).reshape(4),
        size=(int(height), int(width)),
        area=float(values["area"]),
        levels=levels,
        best_overlap=float(values["best_anchor_iou"]),
        candidates=Candidates(np.hstack([centres - half, centres + half]).astype(np.float32), level, **facts),
        positives=int(values["positives"]),
        mixture=None if mixture is None else ObjectMixture(*(tuple(mixture[name]) for name in ObjectMixture._fields)),
    )


def _centres(candidates: Candidates) -> list[list[float]]:
    centres: list[list[float]] = _rounded((candidates.anchors[:, :2] + candidates.anchors[:, 2:]) / 2, 1)
    return centres


def _places(other: Alternative) -> list[list[float]]:
    """Return the level and the centre, x and y, of each anchor."""
    centres = _rounded((other.anchors[:, :2] + other.anchors[:, 2:]) / 2, 1)
    return [[level, *centre] for level, centre in zip(other.levels.tolist(), centres)]


def _rounded(values: Any, digits: int) -> Any:
    """Return an array as lists of numbers with so many decimals."""
    return np.asarray(values, np.float64).round(digits).tolist()
