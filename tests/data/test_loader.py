from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from paa.config import AugmentConfig, LoadingConfig, WorkerConfig
from paa.data.augment import TrainTransform
from paa.data.batch import Batch
from paa.data.images.read import read_image
from paa.data.index import DatasetIndex
from paa.data.loader import Loader, eval_loader, train_loader
from paa.data.read import read_dataset
from paa.data.sampling import Sampling
from paa.data.transforms import Resize, resized_size, scale_boxes
from paa.errors import DataError, ImageError
from paa.runtime.distributed import Process
from tests.data.data_files import make_index, shared

JITTER = TrainTransform(AugmentConfig((40, 60), 90, scale_jitter=(0.6, 1.5), color_jitter=0.2))
PLAIN = TrainTransform(AugmentConfig((40,), 90, hflip=0.0))
RESIZE = Resize(40, 90)
IN_PROCESS = WorkerConfig(workers=0)


def loading(workers: int = 0, batch_size: int = 1, skip_bad: bool = False) -> LoadingConfig:
    return LoadingConfig(workers, batch_size=batch_size, skip_bad=skip_bad)


SIZES = [(30, 40)] * 5 + [(40, 30)] * 4 + [(50, 50), (20, 70), (64, 32)]


def process(rank: int, world: int) -> Process:
    return Process(torch.device("cpu"), rank, world)


def loader_of(
    index: DatasetIndex,
    transform: TrainTransform = JITTER,
    *,
    steps: int = 6,
    start_step: int = 0,
    workers: int = 0,
    skip_bad: bool = False,
) -> Loader:
    """Return a loader of batches of four images for training."""
    sampling = Sampling(4, steps, start_step)
    return train_loader(index, transform, sampling, workers=WorkerConfig(workers), skip_bad=skip_bad)


def train(index: DatasetIndex, transform: TrainTransform = JITTER, **options: int | bool) -> list[Batch]:
    """Return batches of four images for training."""
    return list(loader_of(index, transform, **options))  # type: ignore[arg-type]


def assert_equal(a: list[Batch], b: list[Batch]) -> None:
    assert len(a) == len(b)
    for one, other in zip(a, b):
        for name, value in vars(one).items():
            assert torch.equal(value, getattr(other, name)), name


def check(batch: Batch, index: DatasetIndex, slack: float = 1e-3) -> None:
    """Check what holds for every batch; legacy scaling puts boxes up to a pixel over the edge, as the seed's does."""
    count, _, height, width = batch.images.shape
    assert batch.images.dtype == torch.uint8
    assert height % 32 == width % 32 == 0
    assert batch.sizes.dtype == batch.gt_labels.dtype == batch.positions.dtype == torch.int64
    assert batch.original_sizes.dtype == torch.int64
    assert batch.gt_boxes.shape == (count, batch.gt_labels.shape[1], 4)
    assert batch.gt_labels.shape[1] % 8 == 0
    assert len(batch) == count
    for b in range(count):
        h, w = batch.sizes[b].tolist()
        assert not batch.images[b, :, h:].any()
        assert not batch.images[b, :, :, w:].any()
        assert batch.images[b, :, :h, :w].any()
        real = batch.gt_labels[b] >= 0
        assert not batch.gt_boxes[b][~real].any()
        assert (batch.gt_boxes[b] >= 0).all()
        assert (batch.gt_boxes[b] <= torch.tensor([w, h, w, h]) + slack).all()
        assert batch.original_sizes[b].tolist() == index.sizes[batch.positions[b]].tolist()


def test_batches(tmp_path: Path) -> None:
    index = make_index(tmp_path, SIZES)
    batches = train(index, steps=12)
    assert len(batches) == len(loader_of(index, steps=12)) == 12
    for batch in batches:
        check(batch, index)
        tall = batch.original_sizes[:, 0] >= batch.original_sizes[:, 1]
        assert len(set(tall.tolist())) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_from_any_step_by_any_workers(tmp_path: Path, workers: int) -> None:
    index = make_index(tmp_path, SIZES)
    whole = train(index)
    assert_equal(train(index, start_step=2, workers=workers), whole[2:])
    assert train(index, start_step=6) == []


def test_processes_split_the_global_batch(tmp_path: Path) -> None:
    index = make_index(tmp_path, SIZES)
    whole = train(index)
    halves = [train_loader(index, JITTER, Sampling(4, 6), process(rank, 2), IN_PROCESS) for rank in (0, 1)]
    for batch, first, second in zip(whole, *halves):
        for name in ("images", "sizes", "positions"):
            assert torch.equal(torch.cat([getattr(first, name), getattr(second, name)]), getattr(batch, name))


def test_boxes_match_images_left_at_their_size(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(40, 50)] * 4, boxes_each=9)
    batch = train(index, PLAIN, steps=1)[0]
    for b, position in enumerate(batch.positions.tolist()):
        boxes, labels = index.targets(position)
        assert batch.gt_labels[b, :9].tolist() == labels.tolist()
        np.testing.assert_allclose(batch.gt_boxes[b, :9], boxes)
        assert batch.gt_labels.shape[1] == 16
        pixels = read_image(index.path(position))
        np.testing.assert_array_equal(batch.images[b, :, :40, :50].permute(1, 2, 0), pixels)


def test_images_without_objects_and_crowds(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(40, 50)] * 4, boxes_each=2)
    index.crowd[2:] = True
    batch = train(index, PLAIN, steps=1)[0]
    for b, position in enumerate(batch.positions.tolist()):
        assert (batch.gt_labels[b] >= 0).sum() == (2 if position == 0 else 0)
    index.crowd[:] = True
    with pytest.raises(DataError, match="no objects"):
        train(index)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_stops_with_one_line(tmp_path: Path, workers: int) -> None:
    index = make_index(tmp_path, SIZES)
    index.path(3).write_text("no image")
    for loader in (
        loader_of(index, PLAIN, steps=9, workers=workers),
        eval_loader(index, RESIZE, loading=loading(workers)),
    ):
        with pytest.raises(ImageError) as caught:
            list(loader)
        remedy = "fix it, or go on without it: --skip-bad"
        assert str(caught.value) == f"{index.path(3)}: a text, not an image; {remedy}"


def test_another_size_than_annotated_stops(tmp_path: Path) -> None:
    index = make_index(tmp_path, SIZES)
    index.sizes[:] = index.sizes[:, ::-1]
    with pytest.raises(ImageError, match="its annotations say"):
        train(index)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture, workers: int) -> None:
    index = make_index(tmp_path / str(workers), SIZES)
    whole = train(index, steps=12)
    for position in (1, 6):
        index.path(position).unlink()
    with caplog.at_level(logging.WARNING, "paa"):
        batches = train(index, steps=12, skip_bad=True, workers=workers)
    assert sorted(record.getMessage() for record in caplog.records) == [
        f"{index.path(position)}: no such image; another image is used instead" for position in (1, 6)
    ]
    replaced = 0
    for before, after in zip(whole, batches):
        check(after, index)
        assert before.images.shape == after.images.shape
        bad = torch.isin(before.positions, torch.tensor([1, 6]))
        assert torch.equal(before.images[~bad], after.images[~bad])
        assert not torch.isin(after.positions, torch.tensor([1, 6])).any()
        tall = after.original_sizes[:, 0] >= after.original_sizes[:, 1]
        assert len(set(tall.tolist())) == 1
        replaced += int(bad.sum())
    assert replaced > 2
    assert_equal(train(index, steps=12, start_step=5, skip_bad=True), batches[5:])


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_left_out_of_an_evaluation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    index = make_index(tmp_path / str(workers), SIZES)
    whole = list(eval_loader(index, RESIZE, loading=loading(batch_size=2)))
    first = whole[0].positions.tolist()
    bad = {*first, whole[2].positions.tolist()[1]}
    for position in bad:
        index.path(position).write_text("no image")
    loader = eval_loader(index, RESIZE, loading=loading(workers, 2, skip_bad=True))
    assert (loader.left_out, loader.left_out_positions) == ([], set())
    with caplog.at_level(logging.WARNING, "paa"):
        batches = list(loader)
    assert loader.left_out_positions == bad
    assert sorted(loader.left_out) == sorted(f"{index.path(p)}: a text, not an image" for p in bad)
    assert sorted(r.getMessage() for r in caplog.records) == sorted(f"{m}; it is left out" for m in loader.left_out)
    seen = [position for batch in batches for position in batch.positions.tolist()]
    assert sorted(seen) == sorted(set(range(len(SIZES))) - bad)
    assert len(batches) == len(whole) - 1  # no image of the first batch is left
    for before, after in zip(whole[1:], batches):
        assert before.images.shape[2:] == after.images.shape[2:]
        left = torch.isin(before.positions, after.positions)
        assert torch.equal(before.images[left], after.images)
    assert len(list(loader)) == len(batches)
    assert len(loader.left_out) == len(bad)


def test_only_the_first_images_left_out_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    index = make_index(tmp_path, [(30, 40)] * 30)
    for position in range(5, 30):
        index.path(position).unlink()
    loader = loader_of(index, PLAIN, steps=60, skip_bad=True)
    with caplog.at_level(logging.WARNING, "paa"):
        assert len(list(loader)) == 60
    assert loader.left_out_positions == set(range(5, 30))
    assert len(loader.left_out) == len(set(loader.left_out)) == 25
    assert len(caplog.records) == 11
    assert caplog.records[-1].getMessage() == "more images cannot be read, and are left out"


def test_nothing_readable(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(30, 40)] * 4)
    for position in range(4):
        index.path(position).unlink()
    with pytest.raises(ImageError, match="no such image"):
        train(index, skip_bad=True)


@pytest.mark.parametrize("world", [1, 2, 3, 5, 13])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_evaluation_sees_each_image_once(tmp_path: Path, world: int, batch_size: int) -> None:
    index = make_index(tmp_path, SIZES)
    index.crowd[::5] = True
    given, batches_of = (index, Resize(40, 90, legacy=True)), loading(batch_size=batch_size)
    shards = [list(eval_loader(*given, process(rank, world), batches_of)) for rank in range(world)]
    batches = [batch for shard in shards for batch in shard]
    assert sorted(torch.cat([batch.positions for batch in batches]).tolist()) == list(range(len(SIZES)))
    for batch in batches:
        check(batch, index, slack=1)
        for b, position in enumerate(batch.positions.tolist()):
            size = resized_size(*SIZES[position], 40, 90)
            assert batch.sizes[b].tolist() == list(size)
            boxes, labels = index.targets(position)
            real = batch.gt_labels[b] >= 0
            assert batch.gt_labels[b][real].tolist() == labels.tolist()
            restored = scale_boxes(batch.gt_boxes[b][real], size, SIZES[position], legacy=True)
            np.testing.assert_allclose(restored, boxes, atol=1e-3)
    one = {tuple(batch.positions.tolist()) for batch in batches}
    assert one == {tuple(batch.positions.tolist()) for batch in eval_loader(*given, loading=batches_of)}


@pytest.mark.parametrize("count", [12, 5, 0])
def test_evaluation_of_the_first_images(tmp_path: Path, count: int) -> None:
    index = make_index(tmp_path, SIZES).select(np.arange(count))
    loader = eval_loader(index, RESIZE, loading=loading(batch_size=2))
    positions = [position for batch in loader for position in batch.positions.tolist()]
    assert sorted(positions) == list(range(count))
    assert sum(len(batch) for batch in loader) == count


def test_evaluation_can_run_again_and_stop_early(tmp_path: Path) -> None:
    index = make_index(tmp_path, SIZES)
    loader = eval_loader(index, RESIZE, loading=loading(workers=2))
    next(iter(loader))
    assert_equal(list(loader), list(eval_loader(index, RESIZE, loading=loading())))


def test_workers_use_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def threads(*_: object) -> Tensor:
        return torch.full((3, 30, 40), torch.get_num_threads(), dtype=torch.uint8)

    monkeypatch.setattr("paa.data.transforms.resize", lambda image, boxes, *_: (threads(), boxes))
    index = make_index(tmp_path, [(30, 40)] * 3)
    loader = eval_loader(index, Resize(30, 90), loading=loading(workers=1))
    assert {int(batch.images.max()) for batch in loader} == {1}


def test_real_data() -> None:
    for name in ("raccoon", "bccd"):
        index = read_dataset(shared(name))
        for batch in train(index, TrainTransform(AugmentConfig((100,), 160)), steps=3):
            check(batch, index)
            assert (batch.gt_labels >= 0).any()


@pytest.mark.parametrize("workers", [0, 2])
def test_one_warning_for_each_image(tmp_path: Path, caplog: pytest.LogCaptureFixture, workers: int) -> None:
    """Also where a run evaluates repeatedly, each time with new workers."""
    index = make_index(tmp_path / str(workers), SIZES)
    cut, bad = index.path(0), index.path(1)
    Image.new("RGB", (SIZES[0][1], SIZES[0][0])).save(cut, "JPEG")
    cut.write_bytes(cut.read_bytes()[:-2])
    bad.write_text("no image")
    with caplog.at_level(logging.WARNING, "paa"):
        for _ in range(3):
            loader = eval_loader(index, RESIZE, loading=loading(workers, skip_bad=True))
            assert sum(len(batch) for batch in loader) == len(SIZES) - 1
            assert loader.left_out == [f"{bad}: a text, not an image"]
    assert sorted(caplog.messages) == [
        f"{cut}: the end of the file is missing; the rest is used",
        f"{bad}: a text, not an image; it is left out",
    ]
