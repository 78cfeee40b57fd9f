"""What kinds of errors cost how much AP, after TIDE (Bolya et al., ECCV 2020), by the library hotcoco."""

from __future__ import annotations

from dataclasses import dataclass

from paa.evaluation.metrics import Evaluation

_KINDS = {
    "Cls": ("classification", "on an object, found as another class"),
    "Loc": ("localisation", "the right class, IoU 0.1 to 0.5"),
    "Both": ("both", "another class, IoU 0.1 to 0.5"),
    "Dupe": ("duplicate", "an object that a better detection found"),
    "Bkg": ("background", "no object, IoU below 0.1"),
    "Miss": ("missed", "an object without a class or localisation error"),
}
_ALL_WRONG, _ALL_MISSED = "FP", "FN"


@dataclass(frozen=True)
class ErrorKind:
    """A kind of error. count: how many. cost: how much higher the AP at IoU 0.5 would be without them, 0..1."""

    name: str
    meaning: str
    count: int
    cost: float


@dataclass(frozen=True)
class ErrorKinds:
    """The errors of an evaluation at IoU 0.5.

    ap50: the AP at IoU 0.5, 0..1. kinds: the six kinds; fixing one changes what the others cost, so that costs do not
    add up. wrong, missed: how much higher the AP would be without any wrong detection, and without any missed object.
    """

    ap50: float
    kinds: tuple[ErrorKind, ...]
    wrong: float
    missed: float


def error_kinds(evaluation: Evaluation) -> ErrorKinds | None:
    """Return the kinds of errors of all detections, whatever their scores; None where there are no objects to find."""
    if evaluation.metrics["AP50"] is None:
        return None
    found = evaluation.run.tide_errors()
    cost, counts = found["delta_ap"], found["counts"]
    kinds = tuple(ErrorKind(name, text, counts[key], cost[key]) for key, (name, text) in _KINDS.items())
    return ErrorKinds(found["ap_base"], kinds, cost[_ALL_WRONG], cost[_ALL_MISSED])
