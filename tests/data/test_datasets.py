from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from paa.config import AugmentConfig
from paa.data.augment import TrainTransform
from paa.data.batch import Batch
from paa.data.datasets import EvalDataset, Loaded, PlannedDataset, TrainDataset
from paa.data.sampling import BatchPlan
from paa.data.transforms import Resize
from paa.errors import ImageError
from tests.data.data_files import make_index

PLAN = BatchPlan((2, 0), ((0, 1, 0, 0), (0, 1, 0, 1)), (64, 96))


def make(kind: type, folder: Path, skip_bad: bool = False) -> PlannedDataset:
    """Return a data set of three images of 40 x 50."""
    index = make_index(folder, [(40, 50)] * 3)
    if kind is EvalDataset:
        return EvalDataset(index, skip_bad, Resize(40, 90))
    return TrainDataset(index, skip_bad, TrainTransform(AugmentConfig((40,), 90)))


KINDS = pytest.mark.parametrize("kind", [EvalDataset, TrainDataset])


@KINDS
def test_an_item_is_the_batch_of_a_plan(tmp_path: Path, kind: type) -> None:
    dataset = make(kind, tmp_path)
    loaded = dataset[PLAN]
    assert isinstance(loaded.batch, Batch)
    assert loaded.batch.positions.tolist() == [2, 0]
    assert loaded.batch.images.shape == (2, 3, 64, 96)
    assert loaded.batch.sizes.tolist() == [[40, 50]] * 2
    assert loaded.left_out == loaded.remarks == []
    image, boxes, labels = dataset.read(1)
    assert image.shape == (3, 40, 50)
    np.testing.assert_array_equal(boxes, dataset.index.targets(1)[0])
    np.testing.assert_array_equal(labels, dataset.index.targets(1)[1])


@KINDS
def test_an_image_that_cannot_be_read_is_the_items_error(tmp_path: Path, kind: type) -> None:
    dataset = make(kind, tmp_path)
    bad = dataset.index.path(2)
    bad.unlink()
    assert str(dataset[PLAN].batch) == f"{bad}: no such image; fix it, or go on without it: --skip-bad"


@KINDS
def test_an_image_that_cannot_be_read_is_left_out(tmp_path: Path, kind: type) -> None:
    dataset = make(kind, tmp_path, skip_bad=True)
    dataset.index.path(2).unlink()
    loaded = dataset[PLAN]
    assert loaded.left_out == [(2, f"{dataset.index.path(2)}: no such image")]
    assert isinstance(loaded.batch, Batch)
    positions = loaded.batch.positions.tolist()
    assert positions == [0] if kind is EvalDataset else positions in ([0, 0], [1, 0])


@KINDS
def test_no_image_that_can_be_read(tmp_path: Path, kind: type) -> None:
    dataset = make(kind, tmp_path, skip_bad=True)
    for position in range(3):
        dataset.index.path(position).unlink()
    loaded = dataset[PLAN]
    if kind is EvalDataset:
        assert loaded.batch is None
        assert [position for position, _ in loaded.left_out] == [2, 0]
    else:
        assert isinstance(loaded.batch, ImageError)
        assert str(loaded.batch).endswith("no such image; nor can any of 100 others be read")


MOSAIC = BatchPlan((2, 0), PLAN.seeds, PLAN.size, ((), (1, 1, 2)))


def test_a_mosaic_takes_the_place_of_its_first_image(tmp_path: Path) -> None:
    dataset = make(TrainDataset, tmp_path)
    plain, mosaic = dataset[PLAN].batch, dataset[MOSAIC].batch
    assert isinstance(plain, Batch)
    assert isinstance(mosaic, Batch)
    assert torch.equal(plain.images[0], mosaic.images[0])
    assert not torch.equal(plain.images[1], mosaic.images[1])
    assert mosaic.positions.tolist() == [2, 0]
    assert mosaic.sizes.tolist() == plain.sizes.tolist()


def test_a_part_of_a_mosaic_that_cannot_be_read(tmp_path: Path) -> None:
    """The first image is then used alone, and the bad one is noted under its own position."""
    dataset = make(TrainDataset, tmp_path, skip_bad=True)
    plain = dataset[PLAN].batch
    dataset.index.path(1).unlink()
    loaded = dataset[MOSAIC]
    assert isinstance(plain, Batch)
    assert isinstance(loaded.batch, Batch)
    assert torch.equal(plain.images, loaded.batch.images)
    assert loaded.left_out == [(1, f"{dataset.index.path(1)}: no such image")]
    strict = TrainDataset(dataset.index, False, TrainTransform(AugmentConfig((40,), 90)))
    assert isinstance(strict[MOSAIC].batch, ImageError)


@KINDS
def test_a_data_set_reaches_spawned_workers(tmp_path: Path, kind: type) -> None:
    dataset = make(kind, tmp_path)
    loaded, again = dataset[PLAN], pickle.loads(pickle.dumps(dataset))[PLAN]
    for name, tensor in vars(loaded.batch).items():
        assert torch.equal(tensor, getattr(again.batch, name)), name


def test_only_the_batch_of_an_item_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, pinned = (make(EvalDataset, tmp_path)[PLAN].batch for _ in range(2))
    monkeypatch.setattr(Batch, "pin_memory", lambda self: pinned)
    item = Loaded(batch, [(3, "a.png: cannot be read")]).pin_memory()
    assert item.batch is pinned
    assert item.left_out == [(3, "a.png: cannot be read")]
    for nothing in (None, ImageError("x")):
        assert Loaded(nothing).pin_memory().batch is nothing
