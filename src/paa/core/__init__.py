"""The paper: pure functions of tensors, which depend on nothing but torch, torchvision's operators and numpy.

For a training loop of your own: `make_anchors`, `paa_losses` (with `LossWeights` and any `Assigner`), `detect`.
To study an assignment: `assign`, whose steps are `match`, `candidates_per_object` and `count_positives`.
"""

from paa.core.anchors import STRIDES, level_of, make_anchors
from paa.core.assignment import Assigner, Assignment, AssignmentError, Cost, PaaAssigner, candidates_per_object, match
from paa.core.boxes import DELTA_WEIGHTS, area, clip, decode, encode, giou, iou
from paa.core.grouping import best_per_group
from paa.core.losses import LossResult, LossWeights, assign, paa_losses
from paa.core.merging import merge_views
from paa.core.mixture import Mixture, count_positives, fit_mixtures
from paa.core.outputs import HeadOutputs
from paa.core.postprocess import DetectedBatch, detect, score_voting, suppress_and_vote
from paa.core.selection import Candidates, select_candidates
from paa.core.suppression import suppress

__all__ = [
    "DELTA_WEIGHTS",
    "STRIDES",
    "Assigner",
    "Assignment",
    "AssignmentError",
    "Candidates",
    "Cost",
    "DetectedBatch",
    "HeadOutputs",
    "LossResult",
    "LossWeights",
    "Mixture",
    "PaaAssigner",
    "area",
    "assign",
    "best_per_group",
    "candidates_per_object",
    "clip",
    "count_positives",
    "decode",
    "detect",
    "encode",
    "fit_mixtures",
    "giou",
    "iou",
    "level_of",
    "make_anchors",
    "match",
    "merge_views",
    "paa_losses",
    "score_voting",
    "select_candidates",
    "suppress",
    "suppress_and_vote",
]
