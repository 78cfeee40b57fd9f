"""The assignment rules by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from paa.assigners.atss import AtssAssigner
from paa.assigners.centre_sampling import CentreSamplingAssigner
from paa.assigners.highest_iou import HighestIouAssigner
from paa.assigners.one_to_one import OneToOneAssigner
from paa.assigners.simota import SimOtaAssigner
from paa.assigners.task_aligned import TaskAlignedAssigner
from paa.core.assignment import Assigner, PaaAssigner
from paa.errors import ConfigError

ASSIGNERS: Mapping[str, Callable[[], Assigner]] = {
    "paa": PaaAssigner,
    "highest-iou": HighestIouAssigner,
    "centre-sampling": CentreSamplingAssigner,
    "atss": AtssAssigner,
    "simota": SimOtaAssigner,
    "task-aligned": TaskAlignedAssigner,
    "one-to-one": OneToOneAssigner,
}
"""Name -> a function that makes the rule, with the numbers of its paper; the names are those of `AssignerName`."""

BY_ANCHORS = frozenset({"highest-iou", "centre-sampling", "atss"})
"""The rules that look at anchors and objects alone, and at no predictions."""


def make_assigner(name: str) -> Assigner:
    """Return the rule of this name; ConfigError if there is none, or if it needs a package that is not installed."""
    if name not in ASSIGNERS:
        raise ConfigError(f"unknown assigner {name!r}; known: {', '.join(ASSIGNERS)}")
    return ASSIGNERS[name]()
