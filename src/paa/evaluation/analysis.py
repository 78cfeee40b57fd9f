"""All that an evaluation says beyond COCO's numbers."""

from __future__ import annotations

from dataclasses import dataclass

from paa.evaluation.bootstrap import draw, resample
from paa.evaluation.calibration import Calibration, calibration
from paa.evaluation.chosen_detections import at_operating_points
from paa.evaluation.confusion import Confusion, confusion
from paa.evaluation.dataset import EvaluatedDataset
from paa.evaluation.error_kinds import ErrorKinds, error_kinds
from paa.evaluation.image_scores import ImageScore, image_scores
from paa.evaluation.intervals import Intervals, intervals
from paa.evaluation.label_errors import LabelError, label_errors
from paa.evaluation.metrics import Evaluation
from paa.evaluation.predicted_iou import PredictedIou
from paa.evaluation.sizes import SizeMetrics, ap_by_size
from paa.evaluation.unseen import Unseen, unseen

DRAWS = 1000
"""How often the images are drawn anew for an interval."""


@dataclass(frozen=True)
class Analysis:
    """All that an evaluation says beyond COCO's numbers; None for what is not defined or was not asked for.

    chosen: the detections at or above their class's operating point, of which confusion, images and label_errors are.
    unseen: of all detections.
    """

    chosen: Evaluation
    intervals: Intervals | None
    sizes: tuple[SizeMetrics, ...]
    errors: ErrorKinds | None
    confusion: Confusion
    calibration: Calibration | None
    images: tuple[ImageScore, ...]
    label_errors: tuple[LabelError, ...]
    unseen: tuple[Unseen, ...]
    predicted_iou: PredictedIou | None


def analyse(evaluated: EvaluatedDataset, draws: int = DRAWS, predicted_iou: PredictedIou | None = None) -> Analysis:
    """Return the analysis of an evaluation.

    draws: of the images, for intervals; 0 leaves these out. predicted_iou: of the detector, where there is one.
    """
    evaluation = evaluated.evaluation
    chosen = at_operating_points(evaluation, evaluated.curves)
    return Analysis(
        chosen,
        intervals(resample(evaluation, draw(len(evaluation.index), draws))) if draws else None,
        ap_by_size(evaluation),
        error_kinds(evaluation),
        confusion(chosen),
        calibration(evaluation),
        image_scores(chosen),
        label_errors(chosen),
        unseen(evaluation),
        predicted_iou,
    )
