from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.evaluation.dataset import EvaluatedDataset
from paa.evaluation.metrics import evaluate
from paa.evaluation.operating_point import precision_recall
from paa.inference.table import DetectionTable
from paa.report.evaluation import write_evaluation, write_sheet
from paa.report.evaluation_report import EvaluationReport


def near_truth(index: DatasetIndex) -> DetectionTable:
    """Detections near the objects, some of them twice, some of another class."""
    random = np.random.default_rng(0)
    rows = np.tile(np.arange(len(index.labels)), 2)
    images = np.repeat(np.arange(len(index)), np.diff(index.offsets))[rows]
    boxes = index.boxes[rows] + random.normal(0, 2, (len(rows), 4)).astype(np.float32)
    labels = np.where(random.random(len(rows)) < 0.7, index.labels[rows], 3)
    return DetectionTable(images, boxes, random.random(len(rows)).astype(np.float32), labels)


def write(folder: Path, index: DatasetIndex, table: DetectionTable) -> None:
    evaluated = EvaluatedDataset(index, table, evaluate(index, table), [])
    write_evaluation(folder, EvaluationReport("model.pt", str(index.root), evaluated))


def test_the_numbers_are_those_of_the_results(tmp_path: Path, shapes: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    index = read_dataset(shapes)
    write(tmp_path / "a" / "b", index, near_truth(index))
    metrics = json.loads((tmp_path / "a" / "b" / "metrics.json").read_text())
    truth = COCO(str(shapes / "train.json"))
    judge = COCOeval(truth, truth.loadRes(str(tmp_path / "a" / "b" / "results.json")), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert 0.2 < metrics["AP"] < 1
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
    for name, value in zip(names, judge.stats, strict=True):
        assert (-1 if metrics[name] is None else metrics[name]) == pytest.approx(value, abs=1e-9), name

    for curve in precision_recall(evaluate(index, near_truth(index))):
        written = metrics["operating_points"][curve.name]
        assert written["AP_all_points"] == curve.ap
        assert written["share"] == curve.share
        if curve.point is not None:
            point = written["point"]
            assert (point["threshold"], point["precision"]) == (curve.point.threshold, curve.point.precision)
            assert point["product"] == pytest.approx(point["precision"] * point["recall"])
    report = (tmp_path / "a" / "b" / "report.md").read_text(encoding="utf-8")
    assert report.count("\n\n") == 2
    assert f"{100 * metrics['AP']:.1f}" in report
    assert not list(tmp_path.rglob("*.tmp"))


def test_nothing_found(tmp_path: Path, shapes: Path) -> None:
    index = read_dataset(shapes, "val")
    table = DetectionTable.concatenate([])
    write(tmp_path, index, table)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["AP"] == 0
    assert all(points["point"] is None for points in metrics["operating_points"].values())
    assert json.loads((tmp_path / "results.json").read_text()) == []
    assert (tmp_path / "precision_recall.png").exists()


def test_nothing_to_find(tmp_path: Path, shapes: Path) -> None:
    whole = read_dataset(shapes, "val")
    index = DatasetIndex(
        **{
            **vars(whole),
            **{name: getattr(whole, name)[:0] for name in ("boxes", "labels", "crowd", "areas")},
            "offsets": np.zeros_like(whole.offsets),
        }
    )
    table = DetectionTable(np.zeros(1, np.int64), np.ones((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, int))
    for name in ("metrics.json", "precision_recall.png"):
        (tmp_path / name).write_text("old")
    write(tmp_path, index, table)
    assert json.loads((tmp_path / "metrics.json").read_text())["AP"] is None
    assert not (tmp_path / "precision_recall.png").exists()
    assert (tmp_path / "sheet.jpg").exists()


def test_a_sheet_without_an_image(tmp_path: Path, shapes: Path) -> None:
    """Results can be evaluated without the images."""
    folder = shutil.copytree(shapes, tmp_path / "shapes")
    index = read_dataset(folder)
    index.path(0).unlink()
    write_sheet(tmp_path / "rest.jpg", index, near_truth(index))
    assert (tmp_path / "rest.jpg").exists()
    for i in range(1, len(index)):
        index.path(i).unlink()
    write_sheet(tmp_path / "rest.jpg", index, near_truth(index))
    assert not (tmp_path / "rest.jpg").exists()


def test_sheet(tmp_path: Path, shapes: Path) -> None:
    index = read_dataset(shapes)
    table = near_truth(index)
    for count in (1, 4, 99):
        write_sheet(tmp_path / f"{count}.jpg", index, table, images=count)
    heights = []
    for count in (1, 4, 99):
        with Image.open(tmp_path / f"{count}.jpg") as sheet:
            heights.append(sheet.size[0] * sheet.size[1])
    assert heights[0] < heights[1] < heights[2]
    write_sheet(tmp_path / "none.jpg", index, table, images=1, threshold=1.0)
    assert (tmp_path / "none.jpg").read_bytes() != (tmp_path / "1.jpg").read_bytes()
