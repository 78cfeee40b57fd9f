"""The annotations that are most likely wrong: where confident detections contradict them, by the library hotcoco."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from paa.evaluation.chosen_detections import on_crowds_alone
from paa.evaluation.metrics import Evaluation

_KINDS: dict[str, Literal["wrong class", "missing"]] = {"wrong_label": "wrong class", "missing_annotation": "missing"}


@dataclass(frozen=True)
class LabelError:
    """A detection that contradicts the annotations.

    kind: "wrong class", where an object of another class has its box; "missing", where no object is. image: position
    in the evaluation's index. score, label, box (4,): of the detection, xyxy pixels. annotated: the object's class by
    label, and its row in the index; None where no object is.
    """

    kind: Literal["wrong class", "missing"]
    image: int
    score: float
    label: int
    box: npt.NDArray[np.float32]
    annotated: tuple[int, int] | None


def label_errors(chosen: Evaluation) -> tuple[LabelError, ...]:
    """Return the likely errors of annotations, those of highest score first.

    chosen: the detections that `at_operating_points` returns, so that scores near a class's threshold come last.
    """
    least = float(chosen.table.scores.min(initial=0))
    hidden = on_crowds_alone(chosen)
    found = []
    for error in chosen.run.image_diagnostics(score_thr=least)["label_errors"]:
        row = error["dt_id"] - 1
        if error["gt_id"] is None and hidden[row]:
            continue
        annotated = None if error["gt_id"] is None else (int(error["gt_category_id"]), int(error["gt_id"]) - 1)
        found.append(
            LabelError(
                _KINDS[error["type"]],
                int(error["image_id"]),
                float(error["dt_score"]),
                int(error["dt_category_id"]),
                chosen.table.boxes[row],
                annotated,
            )
        )
    return tuple(sorted(found, key=lambda error: -error.score))
