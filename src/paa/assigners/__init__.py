"""Assignment rules as values, each from its own paper: `paa_losses(..., assigner=AtssAssigner())`.

All have the interface of `paa.core.Assigner`, take a whole batch at once, and are equal to a reference implementation,
by tests. `ASSIGNERS` has them by name, and `make_assigner` makes one of a text: a name, with the numbers of its paper
or others, or the place of a rule of your own.
"""

from paa.assigners.atss import AtssAssigner
from paa.assigners.centre_sampling import CentreSamplingAssigner
from paa.assigners.highest_iou import HighestIouAssigner
from paa.assigners.one_to_one import OneToOneAssigner
from paa.assigners.registry import ASSIGNERS, BY_ANCHORS, make_assigner, text_of
from paa.assigners.simota import SimOtaAssigner
from paa.assigners.task_aligned import TaskAlignedAssigner
from paa.core.assignment import PaaAssigner

__all__ = [
    "ASSIGNERS",
    "BY_ANCHORS",
    "AtssAssigner",
    "CentreSamplingAssigner",
    "HighestIouAssigner",
    "OneToOneAssigner",
    "PaaAssigner",
    "SimOtaAssigner",
    "TaskAlignedAssigner",
    "make_assigner",
    "text_of",
]
