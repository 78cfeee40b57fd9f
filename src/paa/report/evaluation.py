"""The files of an evaluation: report, numbers, COCO results, precision-recall curves, images beside the truth."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from paa.data.images.read import read_image
from paa.data.index import DatasetIndex
from paa.detections import Detections
from paa.drawing.jpeg import jpeg
from paa.errors import ImageError
from paa.evaluation.coco_results import write_results
from paa.evaluation.metrics_dict import metrics_dict
from paa.inference.table import DetectionTable
from paa.report.curves import precision_recall_curves
from paa.report.drawing import Comparison, contact_sheet
from paa.report.evaluation_json import beside_metrics_dict
from paa.report.evaluation_report import EvaluationReport
from paa.report.html.page import write_page
from paa.report.tables import evaluation_tables, markdown_table
from paa.runtime.files import whole_file, write_text

log = logging.getLogger("paa")

RESULTS = "results.json"
"""The file of an evaluation's detections."""
METRICS = "metrics.json"
CURVES = "precision_recall.png"
SHEET = "sheet.jpg"
WRITTEN = (METRICS, "analysis.json", "report.html", RESULTS, "report.md", CURVES, SHEET)
"""All that an evaluation may write."""


def write_evaluation(folder: Path, report: EvaluationReport) -> None:
    """Write metrics.json, results.json (COCO's format), report.md, precision_recall.png and sheet.jpg to `folder`.

    With an analysis also analysis.json and report.html, which hold a comparison too. Without an object in any image
    there is no curve to draw, and no precision_recall.png.
    """
    folder.mkdir(parents=True, exist_ok=True)
    evaluated = report.evaluated
    write_text(folder / METRICS, _json(metrics_dict(evaluated)))
    if report.analysis is not None:
        write_text(folder / "analysis.json", _json(beside_metrics_dict(report)))
        write_page(folder / "report.html", report)
    write_results(folder / RESULTS, evaluated.index, evaluated.table)
    tables = [markdown_table(rows) for _, rows in evaluation_tables(evaluated)]
    write_text(folder / "report.md", "\n\n".join(tables) + "\n")
    if any(curve.objects for curve in evaluated.curves):
        precision_recall_curves(evaluated.curves, folder / CURVES)
    else:
        (folder / CURVES).unlink(missing_ok=True)  # one of an evaluation before
    write_sheet(folder / SHEET, evaluated.index, evaluated.table)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def write_sheet(
    path: Path, index: DatasetIndex, table: DetectionTable, images: int = 8, threshold: float = 0.5
) -> None:
    """Write a sheet of images evenly spread over the data set, the ground truth to the left, detections to the right.

    images: how many, at most. threshold: least score of a detection that is drawn. An image that cannot be read is not
    on it, as results can be evaluated without the images; without any there is no sheet.
    """
    rows = []
    for i in np.unique(np.linspace(0, len(index) - 1, min(images, len(index))).astype(np.int64)).tolist():
        own = table.select(table.image == i)
        order = np.argsort(-own.scores, kind="stable")
        detections = Detections(own.boxes[order], own.scores[order], own.labels[order], index.names)
        try:
            image = read_image(index.path(i), (int(index.sizes[i, 0]), int(index.sizes[i, 1])))
        except ImageError as error:
            log.warning(f"not on {path.name}: {error}")
            continue
        rows.append(Comparison(image, *index.targets(i), detections, index.path(i).name))
    if not rows:
        path.unlink(missing_ok=True)  # one of an evaluation before
        return
    sheet = contact_sheet(rows, index.names, threshold=threshold)
    with whole_file(path) as temporary:
        temporary.write_bytes(jpeg(sheet))
