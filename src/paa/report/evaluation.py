"""The files of an evaluation: numbers, COCO results, precision-recall curves, images beside the truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paa.data.images.read import read_image
from paa.data.index import DatasetIndex
from paa.detections import Detections
from paa.evaluation.coco_results import write_results
from paa.evaluation.metrics import CocoMetrics
from paa.evaluation.operating_point import ClassCurve
from paa.inference.table import DetectionTable
from paa.report.curves import precision_recall_curves
from paa.report.drawing import Comparison, contact_sheet
from paa.report.tables import class_rows, markdown_table, operating_point_rows, summary_rows
from paa.runtime.files import whole_file, write_text


def write_evaluation(
    folder: Path, index: DatasetIndex, table: DetectionTable, metrics: CocoMetrics, curves: Sequence[ClassCurve]
) -> None:
    """Write metrics.json, results.json (COCO's format), report.md, precision_recall.png and sheet.jpg to `folder`.

    Without an object in any image there is no curve to draw, and no precision_recall.png.
    """
    folder.mkdir(parents=True, exist_ok=True)
    points = {
        c.name: {
            "AP_all_points": c.ap,
            "AP_all_points_mean": c.ap_mean,
            "point": None if c.point is None else {**vars(c.point), "product": c.point.product},
            "share": c.share,
        }
        for c in curves
    }
    write_text(folder / "metrics.json", json.dumps({**metrics.to_dict(), "operating_points": points}, indent=2) + "\n")
    write_results(folder / "results.json", index, table)
    tables = [summary_rows(metrics), class_rows(metrics), operating_point_rows(curves)]
    write_text(folder / "report.md", "\n\n".join(markdown_table(rows) for rows in tables) + "\n")
    if any(curve.objects for curve in curves):
        precision_recall_curves(curves, folder / "precision_recall.png")
    write_sheet(folder / "sheet.jpg", index, table)


def write_sheet(
    path: Path, index: DatasetIndex, table: DetectionTable, images: int = 8, threshold: float = 0.5
) -> None:
    """Write a sheet of images evenly spread over the data set, the truth to the left, detections to the right."""
    rows = []
    for i in np.unique(np.linspace(0, len(index) - 1, min(images, len(index))).astype(np.int64)).tolist():
        mine = table.select(table.image == i)
        order = np.argsort(-mine.scores, kind="stable")
        found = Detections(mine.boxes[order], mine.scores[order], mine.labels[order], index.names)
        image = read_image(index.path(i), (int(index.sizes[i, 0]), int(index.sizes[i, 1])))
        rows.append(Comparison(image, *index.targets(i), found, index.path(i).name))
    sheet = contact_sheet(rows, index.names, threshold=threshold)
    with whole_file(path) as temporary:
        sheet.save(temporary, "JPEG", quality=90)
