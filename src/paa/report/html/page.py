"""report.html: an evaluation on one page, which needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from paa import __version__
from paa.evaluation.analysis import Analysis
from paa.evaluation.image_scores import typical, worst
from paa.evaluation.sizes import SizeMetrics
from paa.report.analysis_tables import (
    calibration_rows,
    confusion_rows,
    difference_rows,
    error_rows,
    image_rows,
    label_error_rows,
    predicted_iou_rows,
    predicted_iou_title,
    size_rows,
    unseen_rows,
)
from paa.report.evaluation_report import EvaluationReport
from paa.report.html import charts
from paa.report.html.environment import page_templates
from paa.report.html.photos import Photo, crop, photo, unseen_crop
from paa.report.tables import TEXT_COLUMNS, Row, class_rows, operating_point_rows, percent, summary_rows
from paa.runtime.files import write_text

_WORST, _TYPICAL, _CROPS, _UNSEEN_CROPS = 6, 4, 12, 6
_CURVES = 24
_CLASS_COLUMNS = 6
_ROWS = 100  # of tables that could be as long as the data set

Item = TypeVar("Item")


def write_page(path: Path, report: EvaluationReport) -> None:
    """Write the report on an evaluation that has an analysis."""
    write_text(path, page(report))


def page(report: EvaluationReport) -> str:
    """Return the page. Names of classes and files come from other people: the templates escape all of them."""
    analysis, evaluated = report.analysis, report.evaluated
    assert analysis is not None  # which the caller made
    index, metrics, intervals = analysis.chosen.index, evaluated.metrics, analysis.intervals
    environment = page_templates()
    comparison = report.comparison
    return environment.get_template("page.html").render(
        version=__version__,
        what=_short(report.what),
        against=_short(report.against or ""),
        sections=_sections(report),
        text_columns=TEXT_COLUMNS,
        report=report,
        metrics=metrics,
        intervals=intervals,
        images=len(index),
        objects=sum(c.objects for c in metrics.classes),
        detections=len(evaluated.table),
        summary=summary_rows(metrics, intervals),
        classes=class_rows(metrics, intervals),
        points=operating_point_rows(evaluated.curves),
        plot=charts.PLOT,
        column_plot=charts.COLUMNS,
        curves=charts.curves(evaluated, _CURVES),
        curves_left_out=max(0, sum(c.objects > 0 for c in metrics.classes) - _CURVES),
        analysis=analysis,
        sizes=_size_table(analysis),
        size_charts=_size_charts(analysis),
        errors=error_rows(analysis.errors) if analysis.errors else [],
        error_chart=_error_chart(analysis),
        matrix=charts.matrix(analysis.confusion),
        confusions=confusion_rows(analysis.confusion, _ROWS),
        calibration=calibration_rows(analysis.calibration) if analysis.calibration else [],
        dots=charts.calibration_dots(analysis.calibration) if analysis.calibration else [],
        predicted_iou=predicted_iou_rows(analysis.predicted_iou),
        predicted_iou_title=predicted_iou_title(analysis.predicted_iou),
        iou_dots=charts.iou_dots(analysis.predicted_iou) if analysis.predicted_iou else [],
        worst=_shown(worst(analysis.images, _WORST), lambda score: photo(analysis, score)),
        typical=_shown(typical(analysis.images, _TYPICAL), lambda score: photo(analysis, score)),
        image_rows=image_rows(worst(analysis.images, _ROWS), index),
        crops=_shown(analysis.label_errors[:_CROPS], lambda error: crop(analysis, error)),
        label_errors=label_error_rows(analysis.label_errors[:_ROWS], index),
        unseen_crops=_shown(analysis.unseen[:_UNSEEN_CROPS], lambda one: unseen_crop(analysis, one)),
        unseen=unseen_rows(analysis.unseen[:_ROWS], index),
        differences=difference_rows("measure", comparison.measures) if comparison else [],
        class_differences=difference_rows("class", comparison.classes) if comparison else [],
        whiskers=charts.whiskers(comparison.measures) if comparison else None,
        class_whiskers=charts.whiskers(comparison.classes) if comparison else None,
    )


def _sections(report: EvaluationReport) -> list[tuple[str, str]]:
    """Return the id and the name of each section that the page has."""
    analysis = report.analysis
    assert analysis is not None
    sections = {
        ("numbers", "Numbers"): True,
        ("against", "Against"): report.comparison is not None,
        ("curves", "Curves"): any(curve.objects for curve in report.evaluated.curves),
        ("sizes", "Sizes"): analysis.sizes,
        ("errors", "Errors"): analysis.errors,
        ("confusion", "Confusions"): True,
        ("calibration", "Calibration"): analysis.calibration,
        ("images", "Images"): any(score.right or score.wrong or score.missed for score in analysis.images),
        ("annotations", "Annotations"): analysis.label_errors or analysis.unseen,
    }
    return [section for section, exists in sections.items() if exists]


def _size_table(analysis: Analysis) -> list[Row]:
    """Return the rows of sizes and, where there are only a few classes, a column for each class's AP."""
    rows, names = size_rows(analysis.sizes), analysis.chosen.index.names
    if not 1 < len(names) <= _CLASS_COLUMNS:
        return rows
    return [
        {**row, **{f"AP of {name}": percent(ap) for name, ap in zip(names, size.classes)}}
        for row, size in zip(rows, analysis.sizes)
    ]


def _size_charts(analysis: Analysis) -> list[tuple[str, list[charts.Column]]]:
    objects = [
        (_range(size), float(size.objects), str(size.objects), f"{size.objects} objects of {size.name} pixels")
        for size in analysis.sizes
    ]
    ap = [
        (_range(size), size.ap or 0.0, percent(size.ap), f"AP {percent(size.ap)} of objects of {size.name} pixels")
        for size in analysis.sizes
    ]
    return [("objects", charts.columns(objects, charts.COLUMNS)), ("AP", charts.columns(ap, charts.COLUMNS))]


def _error_chart(analysis: Analysis) -> list[charts.Column]:
    if analysis.errors is None:
        return []
    bars = [
        (kind.name, kind.cost, percent(kind.cost), f"{kind.count} errors cost {percent(kind.cost)} points of AP50")
        for kind in analysis.errors.kinds
    ]
    return charts.columns(bars, charts.COLUMNS)


def _short(path: str) -> str:
    """Return the end of a path: the name last.pt alone says little."""
    return str(Path(*Path(path).parts[-2:]))


def _range(size: SizeMetrics) -> str:
    return size.name.replace(" to ", "–").replace("from ", "≥ ")


def _shown(items: Iterable[Item], draw: Callable[[Item], Photo | None]) -> list[Photo]:
    """Return the drawings of the items whose images can be read."""
    return [drawn for item in items if (drawn := draw(item)) is not None]
