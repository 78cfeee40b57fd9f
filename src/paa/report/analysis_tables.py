"""Tables of an analysis and of a comparison, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from paa.data.index import DatasetIndex
from paa.evaluation.analysis import Analysis
from paa.evaluation.bootstrap import Interval
from paa.evaluation.calibration import Calibration
from paa.evaluation.comparison import Comparison, Difference
from paa.evaluation.confusion import BACKGROUND, Confusion
from paa.evaluation.error_kinds import ErrorKinds
from paa.evaluation.image_scores import ImageScore, worst
from paa.evaluation.label_errors import LabelError
from paa.evaluation.predicted_iou import PredictedIou
from paa.evaluation.sizes import SizeMetrics
from paa.evaluation.unseen import Unseen
from paa.report.image_names import file_name
from paa.report.tables import INTERVAL, Row, percent

_MOST = 10  # rows of a table that could be as long as the data set

Titled = tuple[str, list[Row]]


def analysis_tables(analysis: Analysis) -> list[Titled]:
    """Return the tables of an analysis, each as its title and rows; long ones cut to ten rows, empty ones left out."""
    index = analysis.chosen.index
    errors, calibration = analysis.errors, analysis.calibration
    tables: list[Titled] = [
        ("objects by size: the square root of the area, in pixels", size_rows(analysis.sizes)),
        ("kinds of errors at IoU 0.5, and how many points of AP50 each costs", error_rows(errors) if errors else []),
        (
            f"scores against the share that is right at IoU 0.5: {percent(calibration.error)} points apart on average"
            if calibration
            else "",
            calibration_rows(calibration) if calibration else [],
        ),
        (predicted_iou_title(analysis.predicted_iou), predicted_iou_rows(analysis.predicted_iou)),
        (
            "most frequent confusions, of detections at their class's operating point or above",
            confusion_rows(analysis.confusion, _MOST),
        ),
        ("worst images", image_rows(worst(analysis.images, _MOST), index)),
        (
            _first_of("annotations that are likely wrong", len(analysis.label_errors)),
            label_error_rows(analysis.label_errors[:_MOST], index),
        ),
        (
            _first_of("annotations of which no detection is right, however low its score", len(analysis.unseen)),
            unseen_rows(analysis.unseen[:_MOST], index),
        ),
    ]
    return [(title, rows) for title, rows in tables if rows]


def comparison_tables(comparison: Comparison, other: str) -> list[Titled]:
    """Return the tables of a comparison. other: what is compared with."""
    about = f"difference from {other}, 95 % interval of {comparison.draws} draws of the images"
    return [
        (about, difference_rows("measure", comparison.measures)),
        ("difference in AP by class", difference_rows("class", comparison.classes)),
    ]


def size_rows(sizes: Sequence[SizeMetrics]) -> list[Row]:
    """Return a row for each range of sizes that has objects."""
    return [
        {
            "size": size.name,
            "objects": str(size.objects),
            "AP": percent(size.ap),
            "AP50": percent(size.ap50),
            "recall": percent(size.recall),
        }
        for size in sizes
    ]


def error_rows(errors: ErrorKinds) -> list[Row]:
    """Return a row for each kind of error, and what all wrong detections and all missed objects cost."""
    rows = [
        {"error": kind.name, "count": str(kind.count), "costs": percent(kind.cost), "meaning": kind.meaning}
        for kind in errors.kinds
    ]
    return [
        *rows,
        {"error": "all wrong", "count": "", "costs": percent(errors.wrong), "meaning": "every wrong detection"},
        {"error": "all missed", "count": "", "costs": percent(errors.missed), "meaning": "every object not found"},
    ]


def calibration_rows(calibration: Calibration) -> list[Row]:
    """Return a row for each bin of scores that has detections."""
    return [
        {
            "scores": f"{one.low:.1f} to {one.high:.1f}",
            "detections": str(one.count),
            "mean score": percent(one.score),
            "right": percent(one.right),
        }
        for one in calibration.bins
        if one.count
    ]


def predicted_iou_title(predicted: PredictedIou | None) -> str:
    """Return a line on how predicted IoUs compare with true ones."""
    if predicted is None:
        return ""
    correlation = "" if predicted.correlation is None else f", correlation {predicted.correlation:.2f}"
    return (
        f"predicted against true IoU in {predicted.images} images: "
        f"{percent(predicted.error)} points apart on average{correlation}"
    )


def predicted_iou_rows(predicted: PredictedIou | None) -> list[Row]:
    """Return a row for each bin of predicted IoUs that has boxes."""
    return [
        {
            "IoU": f"{one.low:.1f} to {one.high:.1f}",
            "boxes": str(one.count),
            "mean predicted": percent(one.predicted),
            "mean true": percent(one.true),
        }
        for one in (predicted.bins if predicted else ())
        if one.count
    ]


def confusion_rows(confusion: Confusion, most: int) -> list[Row]:
    """Return a row for each of the most frequent mistakes."""
    return [
        {
            "annotated": "nothing" if truth == BACKGROUND else truth,
            "found": "nothing" if found == BACKGROUND else found,
            "count": str(count),
        }
        for truth, found, count in confusion.mistakes()[:most]
    ]


def image_rows(scores: Sequence[ImageScore], index: DatasetIndex) -> list[Row]:
    """Return a row for each image: its file name, and what was found and missed in it."""
    return [
        {
            "image": file_name(index, score.image),
            "F1": percent(score.f1),
            "right": str(score.right),
            "wrong": str(score.wrong),
            "missed": str(score.missed),
        }
        for score in scores
    ]


def label_error_rows(errors: Sequence[LabelError], index: DatasetIndex) -> list[Row]:
    """Return a row for each likely error of the annotations."""
    return [
        {
            "image": file_name(index, error.image),
            "annotated": "nothing" if error.annotated is None else index.names[error.annotated[0]],
            "found": index.names[error.label],
            "score": f"{error.score:.3f}",
            "box": ", ".join(f"{value:.0f}" for value in error.box),
        }
        for error in errors
    ]


def unseen_rows(unseen: Sequence[Unseen], index: DatasetIndex) -> list[Row]:
    """Return a row for each annotation that the detector does not see."""
    return [
        {
            "image": file_name(index, one.image),
            "annotated": index.names[index.labels[one.row]],
            "box": ", ".join(f"{value:.0f}" for value in index.boxes[one.row]),
            "found": "nothing" if one.found is None else index.names[one.found[0]],
            "score": "-" if one.found is None else f"{one.found[1]:.3f}",
            "overlap": f"{one.overlap:.2f}",
        }
        for one in unseen
    ]


def difference_rows(first: str, differences: Sequence[Difference]) -> list[Row]:
    """Return a row for each difference. first: the name of the first column."""
    return [
        {
            first: one.name,
            "this": percent(one.this),
            "other": percent(one.other),
            "difference": "-" if one.difference is None else f"{100 * one.difference:+.1f}",
            INTERVAL: _signed_interval(one.interval),
            "verdict": one.verdict,
        }
        for one in differences
    ]


def _signed_interval(interval: Interval | None) -> str:
    """Return an interval of differences, in points."""
    return "-" if interval is None else f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"


def _first_of(title: str, count: int) -> str:
    return f"{title}: the first {_MOST} of {count}" if count > _MOST else title
