"""Looks at the assignment during training: they change nothing, are made once, and are read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import paa
from paa.config import LoadingConfig, TrainTilesConfig
from paa.core import PaaAssigner
from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.data.transforms import Resize
from paa.explanation import explain, summarise
from paa.explanation.history import History
from paa.training.assignment_watch import AssignmentWatch, watch_interval, watched_images
from paa.training.records import Record, TrainResult
from paa.training.schedule import Schedule
from paa.training.train import train
from tests.training.runs import CPU, KilledError, Micro, differences, kill_at, load, read_log, timeless

EVERY_STEP: dict[str, Any] = {"runtime": {"assignment_interval": 1}}


def schedule(steps: int) -> Schedule:
    return Schedule(steps, (), 0.1, 2, 0.5, "constant", "step")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, micro: Micro) -> TrainResult:
    """Return a run that was looked at after every step."""
    return train(micro(tmp_path_factory.mktemp("runs") / "watched", **EVERY_STEP), CPU)


def without_looks(records: list[Record]) -> list[Record]:
    return [{k: v for k, v in record.items() if not k.startswith("assignment_")} for record in timeless(records)]


def test_a_run_is_the_same_with_looks_and_without(watched: TrainResult, whole: TrainResult) -> None:
    assert differences(load(watched.last), load(whole.last)) == []
    assert without_looks(read_log(watched.log)) == timeless(read_log(whole.log))
    assert not History(whole.folder).path.exists()  # shorter than the interval


def test_a_run_with_trained_batch_norm_is_the_same_too(tmp_path: Path, micro: Micro) -> None:
    model = {"norm": "batch", "norm_eps": 1e-5}
    options: dict[str, Any] = {"model": model, "schedule": {"frozen_stages": 0, "steps": 2, "decays": ()}}
    without: dict[str, Any] = {"runtime": {"assignment_interval": 0}}
    ends = [
        train(micro(tmp_path / name, **options, **looks), CPU) for name, looks in (("a", EVERY_STEP), ("b", without))
    ]
    assert differences(*(load(end.last) for end in ends)) == []
    assert [History(end.folder).path.exists() for end in ends] == [True, False]


def test_numbers_are_those_of_the_images_that_are_looked_at(watched: TrainResult, shapes: Path) -> None:
    """The last look is at the weights of the last checkpoint."""
    model = paa.load(watched.last, "cpu")
    images = watched_images(None, read_dataset(shapes, "train"), 1)  # half of the batch
    assert len(images) == 1
    objects = list(explain(model, images, loading=LoadingConfig(workers=0, batch_size=4)))
    expected, last = summarise(objects).whole, read_log(watched.log)[-1]
    assert last["assignment_positives"] == pytest.approx(expected.positives, abs=1e-3)
    assert last["assignment_iou_error"] == pytest.approx(expected.iou_error, abs=1e-3)
    assert last["assignment_separation"] == pytest.approx(expected.separation, abs=1e-3)
    assert last["assignment_positives_P3"] == pytest.approx((expected.per_level or (0,))[0], abs=1e-3)
    assert {"assignment_positives_small", "assignment_positives_medium"} & last.keys()
    names, moments = History(watched.folder).read()
    assert [step for step, _ in moments] == [0, 1, 2, 3, 4]
    assert [one.image_id for one in names] == images.image_ids.tolist()
    by_row = {one.row: one for one in objects}
    for one, again in zip(moments[-1][1], (by_row[row] for row in _middle_rows(images))):
        assert one.positives == again.positives
        np.testing.assert_allclose(one.candidates.scores, again.candidates.scores, atol=1e-4)


def _middle_rows(images: DatasetIndex) -> list[int]:
    """Return the annotation of middle size of each image."""
    rows = [range(a, b) for a, b in zip(images.offsets[:-1].tolist(), images.offsets[1:].tolist())]
    return [sorted(own, key=lambda row: (float(images.areas[row]), row))[len(own) // 2] for own in rows]


def test_pictures_go_to_the_folder_and_to_tensorboard(watched: TrainResult) -> None:
    pictures = sorted(History(watched.folder).path.glob("step_*.jpg"))
    assert [path.stem for path in pictures] == [f"step_{step:06d}" for step in (1, 2, 3, 4)]
    with Image.open(pictures[0]) as picture:
        assert picture.size == (760, 330)
    board = EventAccumulator(str(watched.folder / "tensorboard")).Reload()
    assert [image.step for image in board.Images("assignment")] == [1, 2, 3, 4]
    assert [point.step for point in board.Scalars("assignment/positives_P3")] == [1, 2, 3, 4]
    assert [point.step for point in board.Scalars("loss/iou")] == [1, 2, 3, 4]


def test_a_killed_run_goes_on_without_a_look_twice(tmp_path: Path, micro: Micro, watched: TrainResult) -> None:
    every = {"runtime": {"assignment_interval": 1, "checkpoint_interval": 2}}
    with pytest.raises(KilledError):
        train(micro(tmp_path / "run", **every), CPU, kill_at(3))
    history = History(tmp_path / "run")
    assert history.steps() == [0, 1, 2, 3]
    resumed = train(micro(tmp_path / "run", resume="last", **every), CPU)
    assert timeless(read_log(resumed.log)) == timeless(read_log(watched.log))
    assert history.lines.read_bytes() == History(watched.folder).lines.read_bytes()
    assert len(list(history.path.glob("step_*.jpg"))) == 4


def test_a_run_in_more_parts_goes_on_with_its_images(tmp_path: Path, micro: Micro) -> None:
    half: dict[str, Any] = {**EVERY_STEP, "batch_size": 4, "schedule": {"steps": 2, "decays": ()}}
    first = train(micro(tmp_path / "run", **half), CPU)
    names, _ = History(first.folder).read()
    assert len(names) == 2
    train(micro(tmp_path / "run", **EVERY_STEP, batch_size=4, accumulate=4, resume="last"), CPU)
    again, moments = History(first.folder).read()
    assert again == names
    assert [step for step, _ in moments] == [0, 1, 2]  # of a larger batch


def test_a_run_on_other_images_begins_its_history_anew(tmp_path: Path, micro: Micro) -> None:
    val: dict[str, Any] = {**EVERY_STEP, "validation": {"batch_size": 2, "limit": 1}}
    train(micro(tmp_path / "run", **val, schedule={"steps": 2, "decays": ()}), CPU)
    watched, _ = History(tmp_path / "run").read()
    train(micro(tmp_path / "run", **EVERY_STEP, resume="last"), CPU)  # without a validation
    others, moments = History(tmp_path / "run").read()
    assert {one.file for one in others}.isdisjoint(one.file for one in watched)
    assert [step for step, _ in moments] == [2, 3, 4]


@pytest.mark.parametrize(
    ("given", "log_interval", "steps", "expected"),
    [(None, 20, 1000, 60), (None, 10, 1000, 50), (None, 20, 90_000, 460), (10, 4, 100, 12), (0, 20, 1000, 0)],
)
def test_the_interval(given: int | None, log_interval: int, steps: int, expected: int) -> None:
    assert watch_interval(given, log_interval, schedule(steps)) == expected


def test_images_have_objects_and_are_of_the_validation_set_if_there_is_one(shapes: Path) -> None:
    train_index, val_index = read_dataset(shapes, "train"), read_dataset(shapes, "val")
    chosen = watched_images(val_index, train_index, 16)
    assert chosen.image_ids.tolist() == val_index.image_ids.tolist()
    assert len(watched_images(None, train_index, 16)) == 4
    assert len(watched_images(None, train_index, 0)) == 1
    nothing = replace(val_index, crowd=np.ones_like(val_index.crowd))
    assert watched_images(nothing, train_index, 16).root == train_index.root
    assert set(watched_images(nothing, train_index, 16).image_ids) <= set(train_index.image_ids.tolist())
    assert len(watched_images(nothing, replace(train_index, crowd=np.ones_like(train_index.crowd)), 16)) == 0


def test_looks_of_a_run_that_validates(tmp_path: Path, micro: Micro, shapes: Path) -> None:
    result = train(micro(tmp_path / "run", validation={"batch_size": 2, "interval": 4}, **EVERY_STEP), CPU)
    records = read_log(result.log)
    assert [record["step"] for record in records if "assignment_positives" in record] == [1, 2, 3, 4]
    assert not [record for record in records if "AP" in record and "assignment_positives" in record]
    val = read_dataset(shapes, "val")
    assert {one.image_id for one in History(tmp_path / "run").read()[0]} <= set(val.image_ids.tolist())


def test_tiles_are_looked_at_as_they_are_trained_on(tmp_path: Path, micro: Micro) -> None:
    augment = {"tiles": TrainTilesConfig(size=48, whole=False)}
    validation = {"batch_size": 2, "interval": 4}
    result = train(micro(tmp_path / "run", augment=augment, validation=validation, **EVERY_STEP), CPU)
    (_, objects), *_ = History(result.folder).read()[1]
    assert {one.size for one in objects} == {(64, 64)}  # the size of tiles in training
    before, after = (
        [one.box.tolist() for one in History(each.folder).read()[1][-1][1]]
        for each in (
            result,
            train(
                micro(
                    result.folder,
                    augment=augment,
                    validation=validation,
                    **{**EVERY_STEP, "schedule": {"steps": 6}},
                    resume="last",
                ),
                CPU,
            ),
        )
    )
    assert after == before  # a resumed run finds the same tiles of an image again


def test_images_that_cannot_be_read_are_passed_over(tmp_path: Path, watched: TrainResult, shapes: Path) -> None:
    index, model = read_dataset(shapes, "train"), paa.load(watched.last, "cpu")
    names = index.file_names.copy()
    names[1] = b"lost.jpg"
    index = replace(index, file_names=names)
    for images, expected in (([1], set()), ([1, 0], {int(index.image_ids[0])})):
        folder = tmp_path / f"of{len(images)}"
        folder.mkdir()
        history = History(folder)
        watch = AssignmentWatch(
            model, index.select(np.array(images)), Resize(64, 96), PaaAssigner(), "float32", history, 1, 2
        )
        assert bool(watch(0)) == bool(expected)
        assert history.steps() == ([0] if expected else [])
        if expected:
            assert {one.image_id for one in history.read()[0]} == expected
        assert model.training


def test_a_network_that_has_diverged_is_not_recorded(tmp_path: Path, watched: TrainResult, shapes: Path) -> None:
    index, model = read_dataset(shapes, "train"), paa.load(watched.last, "cpu")
    torch.nn.init.constant_(model.head.deltas.weight, torch.nan)
    history = History(tmp_path)
    watch = AssignmentWatch(model, index, Resize(64, 96), PaaAssigner(), "float32", history, 1, 2)
    assert watch(0) == watch(2) == {}
    assert history.steps() == []
