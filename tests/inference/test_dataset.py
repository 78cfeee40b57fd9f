from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import paa
from paa import PAA
from paa.config import InferenceConfig, LoadingConfig
from paa.data.images.read import read_image
from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.errors import DataError, ImageError
from paa.evaluation.metrics import evaluate
from paa.inference.dataset import DetectedDataset, detect_dataset
from paa.inference.table import DetectionTable
from paa.runtime.distributed import Process

CPU = Process(torch.device("cpu"))


def detect(
    model: PAA, index: DatasetIndex, inference: InferenceConfig = InferenceConfig(), *, workers: int = 0, **loading: Any
) -> DetectedDataset:
    return detect_dataset(model, index, CPU, inference, LoadingConfig(workers=workers, **loading))


def ordered(table: DetectionTable) -> DetectionTable:
    return table.select(np.lexsort((*table.boxes.T, table.labels, -table.scores, table.image)))


def assert_same(a: DetectionTable, b: DetectionTable, atol: float = 0.0) -> None:
    a, b = ordered(a), ordered(b)
    assert len(a) == len(b) > 0
    for name, column in vars(a).items():
        np.testing.assert_allclose(column, getattr(b, name), rtol=0, atol=atol)


def test_the_detections_of_a_data_set_are_those_of_predict(shapes: Path, checkpoint: Path) -> None:
    model, index = paa.load(checkpoint, "cpu"), read_dataset(shapes, "val")
    table = detect(model, index, batch_size=1).table
    assert table.boxes.dtype == table.scores.dtype == np.float32
    assert table.image.dtype == table.labels.dtype == np.int64
    for i in range(len(index)):
        alone = model.predict(read_image(index.path(i)))
        mine = table.select(table.image == i)
        assert len(mine) == len(alone) > 5
        rows = DetectionTable(np.full(len(alone), i), alone.boxes, alone.scores, alone.labels)
        assert_same(mine, rows, atol=1e-4)
        height, width = index.sizes[i]
        assert (mine.boxes >= 0).all()
        assert (mine.boxes <= np.array([width, height, width, height]) + 1e-3).all()


def test_workers_batches_and_progress(shapes: Path, checkpoint: Path) -> None:
    model, index = paa.load(checkpoint, "cpu").train(), read_dataset(shapes, "train")
    done: list[int] = []
    whole = detect_dataset(
        model, index, CPU, loading=LoadingConfig(batch_size=3, workers=0), progress=done.append
    ).table
    assert sum(done) == 8
    assert max(done) <= 3
    assert model.training
    assert_same(whole, detect(model, index, batch_size=3, workers=2).table)
    first = detect(model, index.select(np.arange(2)), batch_size=1).table
    assert set(first.image.tolist()) == {0, 1}


def test_voting_and_precision_are_passed_on(shapes: Path, checkpoint: Path) -> None:
    model, index = paa.load(checkpoint, "cpu"), read_dataset(shapes, "val")
    voted, plain, half = (
        ordered(detect(model, index, InferenceConfig(**changes)).table)
        for changes in ({}, {"voting": False}, {"precision": "bfloat16"})
    )
    np.testing.assert_array_equal(voted.scores, plain.scores)
    assert np.abs(voted.boxes - plain.boxes).max() > 0.01
    assert half.scores.dtype == np.float32
    assert half.scores.max() != voted.scores.max()
    assert half.scores.max() == pytest.approx(voted.scores.max(), rel=0.05)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named(tmp_path: Path, shapes: Path, checkpoint: Path, workers: int) -> None:
    data = shutil.copytree(shapes, tmp_path / "data")
    name = json.loads((data / "val.json").read_text())["images"][1]["file_name"]
    (data / "images" / name).write_bytes(b"no image")
    with pytest.raises(ImageError, match=f"{name}: a text, not an image"):
        detect(paa.load(checkpoint, "cpu"), read_dataset(data, "val"), workers=workers)


def test_nothing_found(shapes: Path, checkpoint: Path) -> None:
    model, index = paa.load(checkpoint, "cpu"), read_dataset(shapes, "val")
    torch.nn.init.constant_(model.head.cls_logits.bias, -99)
    table = detect(model, index).table
    assert len(table) == 0
    assert evaluate(index, table).metrics["AP"] == 0


@pytest.mark.parametrize("batch_size", [2, 4, 8])
def test_detections_do_not_depend_on_the_batch_size(shapes: Path, checkpoint: Path, batch_size: int) -> None:
    """Group norm would see the padding that a larger image beside brings."""
    model, index = paa.load(checkpoint, "cpu"), read_dataset(shapes, "train")
    assert len({tuple(size) for size in index.sizes.tolist()}) > 4
    alone = detect(model, index, batch_size=1).table
    assert_same(detect(model, index, batch_size=batch_size).table, alone, atol=1e-4)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_left_out_of_the_evaluation_too(
    tmp_path: Path, shapes: Path, checkpoint: Path, workers: int
) -> None:
    model, data = paa.load(checkpoint, "cpu"), shutil.copytree(shapes, tmp_path / "data")
    index = read_dataset(data, "train")
    whole = detect(model, index).table
    index.path(2).write_bytes(b"no image any more")
    found = detect(model, index, batch_size=2, workers=workers, skip_bad=True)
    kept = [0, 1, 3, 4, 5, 6, 7]
    assert found.index.image_ids.tolist() == index.image_ids[kept].tolist()
    assert len(found.left_out) == 1
    assert index.path(2).name in found.left_out[0]
    expected = whole.select(whole.image != 2)
    assert_same(found.table, replace(expected, image=np.searchsorted(kept, expected.image)), atol=1e-4)
    assert evaluate(found.index, found.table).metrics == evaluate(index, expected, images=np.array(kept)).metrics
    for i in kept:
        index.path(i).write_bytes(b"nor this")
    with pytest.raises(DataError, match="none of the 8 images can be read"):
        detect(model, index, skip_bad=True)
