"""A rule is tried on two small made-up images, so that what is wrong with it is said before anything is trained."""

from __future__ import annotations

import torch

from paa.core.anchors import STRIDES, make_anchors
from paa.core.assignment import Assigner, Assignment
from paa.core.losses import assign
from paa.core.outputs import HeadOutputs
from paa.errors import ConfigError, one_line

_SIDE, _CLASSES = 256, 3


def try_rule(rule: Assigner, text: str, strides: tuple[int, ...] = STRIDES) -> None:
    """Raise ConfigError, which names the rule by its text, unless it assigns two images of 256 pixels as it must.

    One image has three objects and an empty slot, the other one has no object. Two of the objects are of one class and
    nearly in the same place, so that a rule that looks at each alone chooses anchors for both. strides: of the
    pyramid's levels.
    """
    sizes = tuple((_SIDE // stride, _SIDE // stride) for stride in strides)
    anchors = make_anchors(sizes, strides, scale=4.0)
    random = torch.Generator().manual_seed(0)
    outputs = HeadOutputs(
        torch.randn(2, len(anchors), _CLASSES, generator=random) - 3,
        torch.randn(2, len(anchors), 4, generator=random) / 10,
        torch.randn(2, len(anchors), generator=random),
        sizes,
    )
    objects = [[30.0, 40, 110, 120], [90, 60, 230, 200], [34, 44, 114, 122], [0, 0, 0, 0]]
    boxes = torch.tensor(objects).expand(2, 4, 4)
    labels = torch.tensor([[0, 2, 0, -1], [-1, -1, -1, -1]])
    try:
        assignment = assign(outputs, anchors, boxes, labels, assigner=rule)
        fault = _fault(assignment, len(anchors), labels)
    except ConfigError:
        raise
    except Exception as error:  # of code that may do anything
        raise ConfigError(f"assigner {text}: on a small image {type(error).__name__}: {one_line(error)}") from error
    if fault is not None:
        raise ConfigError(f"assigner {text}: on a small image {fault}")


def _fault(assignment: Assignment, num_anchors: int, labels: torch.Tensor) -> str | None:
    """Return what an assignment breaks of the rules that hold for all; None for nothing."""
    positives, candidates, slots = assignment.num_positives, assignment.num_candidates, assignment.anchors.shape[2]
    if bool(((positives < 0) | (positives > candidates) | (candidates > slots)).any()):
        return f"num_positives is not from 0 to num_candidates, or num_candidates not at most {slots}, the slots"
    candidate = torch.arange(slots) < candidates[..., None]
    if not bool(assignment.scores[candidate].isfinite().all()):
        return "a candidate's score is infinite or NaN"
    if bool((assignment.scores.diff(dim=2) < 0)[candidate[..., 1:]].any()):
        return "candidates are not in the order of their scores, of which the lowest is the best"
    positive = assignment.is_positive()
    if assignment.weights is not None:
        weights = assignment.weights[positive]
        if not bool((weights.isfinite() & (weights >= 0)).all()):
            return "the weight of a positive anchor is negative, infinite or NaN"
    if bool((assignment.num_positives[labels < 0] != 0).any()):
        return "an empty slot has positive anchors"
    for image, chosen in enumerate(positive):
        own = assignment.anchors[image][chosen]
        if len(own) and not 0 <= int(own.min()) <= int(own.max()) < num_anchors:
            return f"positive anchors {int(own.min())} to {int(own.max())} of {num_anchors}"
        if len(own) != len(own.unique()):
            return "an anchor is positive twice; each may be positive for one object"
        if assignment.ignored is not None and bool(assignment.ignored[image][own].any()):
            return "an anchor is positive and ignored"
    return None
