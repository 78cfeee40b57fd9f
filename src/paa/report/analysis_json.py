"""An analysis and a comparison as plain values that JSON can hold."""

from __future__ import annotations

from typing import Any

from paa.evaluation.analysis import Analysis
from paa.evaluation.comparison import Comparison, Difference
from paa.evaluation.confusion import BACKGROUND
from paa.evaluation.label_errors import LabelError
from paa.evaluation.unseen import Unseen
from paa.report.image_names import file_name


def analysis_dict(analysis: Analysis) -> dict[str, Any]:
    """Return the analysis as plain values: shares 0..1, boxes as xyxy pixels, images by their file names."""
    index, intervals, errors, calibration = (
        analysis.chosen.index,
        analysis.intervals,
        analysis.errors,
        analysis.calibration,
    )
    predicted = analysis.predicted_iou
    return {
        "intervals": None
        if intervals is None
        else {
            "draws": intervals.draws,
            **intervals.measures,
            "classes": dict(zip(index.names, intervals.classes)),
        },
        "sizes": [
            {**vars(size), "range": size.name, "classes": dict(zip(index.names, size.classes))}
            for size in analysis.sizes
        ],
        "errors": None
        if errors is None
        else {
            "AP50": errors.ap50,
            "kinds": {kind.name: {"count": kind.count, "cost": kind.cost} for kind in errors.kinds},
            "all_wrong": errors.wrong,
            "all_missed": errors.missed,
        },
        "confusion": {
            "classes": [*index.names, BACKGROUND],
            "matrix": analysis.confusion.counts.tolist(),
        },
        "calibration": None
        if calibration is None
        else {
            "error": calibration.error,
            "largest": calibration.largest,
            "bins": [vars(one) for one in calibration.bins],
            "classes": calibration.classes,
        },
        "predicted_iou": None
        if predicted is None
        else {**vars(predicted), "bins": [vars(one) for one in predicted.bins]},
        "images": [
            {"file": file_name(index, s.image), "f1": s.f1, "right": s.right, "wrong": s.wrong, "missed": s.missed}
            for s in analysis.images
        ],
        "label_errors": [_label_error(analysis, error) for error in analysis.label_errors],
        "unseen": [_unseen(analysis, one) for one in analysis.unseen],
    }


def comparison_dict(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as plain values."""
    return {
        "draws": comparison.draws,
        **{difference.name: _difference(difference) for difference in comparison.measures},
        "classes": {difference.name: _difference(difference) for difference in comparison.classes},
    }


def _label_error(analysis: Analysis, error: LabelError) -> dict[str, Any]:
    index = analysis.chosen.index
    return {
        "file": file_name(index, error.image),
        "kind": error.kind,
        "score": error.score,
        "found": index.names[error.label],
        "box": [round(value, 2) for value in error.box.tolist()],
        "annotated": None if error.annotated is None else index.names[error.annotated[0]],
    }


def _unseen(analysis: Analysis, one: Unseen) -> dict[str, Any]:
    index = analysis.chosen.index
    return {
        "file": file_name(index, one.image),
        "annotated": index.names[index.labels[one.row]],
        "box": [round(value, 2) for value in index.boxes[one.row].tolist()],
        "overlap": round(one.overlap, 4),
        "found": None if one.found is None else index.names[one.found[0]],
        "score": None if one.found is None else one.found[1],
    }


def _difference(one: Difference) -> dict[str, Any]:
    return {
        "this": one.this,
        "other": one.other,
        "difference": one.difference,
        "interval": one.interval,
        "verdict": one.verdict,
    }
