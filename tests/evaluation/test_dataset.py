from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import paa
from paa.config import InferenceConfig, LoadingConfig
from paa.data.read import read_dataset
from paa.evaluation.dataset import evaluate_dataset
from paa.evaluation.metrics import evaluate
from paa.evaluation.operating_point import precision_recall
from paa.inference.dataset import detect_dataset
from paa.runtime.distributed import Process

CPU = Process(torch.device("cpu"))
LOADING = LoadingConfig(batch_size=3, workers=0)


def test_the_numbers_and_curves_are_those_of_the_detections(shapes: Path, checkpoint: Path) -> None:
    model, index = paa.load(checkpoint, "cpu"), read_dataset(shapes, "train")
    inference = InferenceConfig(max_detections=120, nms_iou=0.9)
    done: list[int] = []
    evaluated = evaluate_dataset(model, index, CPU, inference, LOADING, done.append)
    assert evaluated is not None
    assert sum(done) == len(index)
    table = detect_dataset(model, index, CPU, inference, LOADING).table
    for name, column in vars(table).items():
        np.testing.assert_array_equal(getattr(evaluated.table, name), column)
    evaluation = evaluate(index, table, max_detections=120)
    assert evaluated.metrics == evaluation.metrics
    assert "AR120" in evaluated.metrics.summary
    curves = precision_recall(evaluation)
    assert [curve.point for curve in evaluated.curves] == [curve.point for curve in curves]
    assert evaluated.left_out == []


def test_an_image_that_cannot_be_read_is_not_evaluated(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    model, data = paa.load(checkpoint, "cpu"), shutil.copytree(shapes, tmp_path / "data")
    index = read_dataset(data, "train")
    index.path(2).write_bytes(b"no image any more")
    evaluated = evaluate_dataset(model, index, CPU, loading=replace(LOADING, skip_bad=True))
    assert evaluated is not None
    (line,) = evaluated.left_out
    assert index.path(2).name in line
    assert evaluated.index.image_ids.tolist() == np.delete(index.image_ids, 2).tolist()
    others = evaluate_dataset(model, index.select(np.delete(np.arange(len(index)), 2)), CPU, loading=LOADING)
    assert others is not None
    assert evaluated.metrics == others.metrics


def test_only_the_first_process_compares_with_the_ground_truth(shapes: Path, checkpoint: Path) -> None:
    model, index = paa.load(checkpoint, "cpu"), read_dataset(shapes, "val")
    assert evaluate_dataset(model, index, Process(torch.device("cpu"), rank=1), loading=LOADING) is None
