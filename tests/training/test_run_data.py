"""The data of a run: what is read, and what is left out, at the start and while it trains."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paa.config import DataConfig
from paa.data import datasets
from paa.data.images.decoders import MAX_PIXELS_VARIABLE
from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.data.sampling import repeat_factors
from paa.data.validation_split import split_off
from paa.errors import ConfigError, ImageError, MissingSplitError
from paa.training.records import ignore
from paa.training.run_data import first_images, read_data, repeat_line
from paa.training.setup import set_up
from paa.training.train import train
from tests.data.data_files import box, coco_json
from tests.training.runs import CPU, NEVER, Micro, damage_an_image, read_log


@pytest.mark.parametrize(("limit", "count"), [(None, 8), (1, 1), (7, 7), (9, 8)])
def test_first_images(shapes: Path, limit: int | None, count: int) -> None:
    index, *_ = read_data(DataConfig(shapes), validate=False)
    first = first_images(index, limit)
    assert [first.path(i) for i in range(len(first))] == [index.path(i) for i in range(count)]


def test_a_limit_is_for_validation_only(tmp_path: Path, micro: Micro) -> None:
    with set_up(micro(tmp_path / "run", validation={"batch_size": 1, "limit": 1}), CPU, ignore, NEVER) as run:
        assert run.val_index is not None
        assert (len(run.val_index), run.state.run_config["images of the data set"]) == (1, 8)


def test_the_validation_set(shapes: Path, tmp_path: Path) -> None:
    """With the classes of the training set, from the same folder, a file, or another data set."""
    index, val_index, _ = read_data(DataConfig(shapes), validate=True)
    assert val_index is not None
    assert (len(index), len(val_index), val_index.names) == (8, 2, index.names)
    assert read_data(DataConfig(shapes / "train.json"), validate=False)[1] is None
    _, other, _ = read_data(DataConfig(shapes / "train.json", val_data=shapes / "val.json"), validate=True)
    assert other is not None
    assert [other.path(i) for i in range(2)] == [val_index.path(i) for i in range(2)]


def paths(*indices: DatasetIndex | None) -> list[Path]:
    return [index.path(i) for index in indices if index is not None for i in range(len(index))]


def test_a_data_set_without_a_validation_split_gets_one(
    shapes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From its training images only, though it has test images; unless validation data is named."""
    data = shutil.copytree(shapes, tmp_path / "data")
    (data / "val.json").rename(data / "test.json")
    with caplog.at_level(logging.INFO, "paa"):
        train, val, _ = read_data(DataConfig(data), validate=True)
    (line,) = [record.getMessage() for record in caplog.records if "validation" in record.getMessage()]
    assert val is not None
    assert line.startswith(f"validation on {len(val)} of the 8 images of 'train', as the data set has no split 'val'")
    whole, *_ = read_data(DataConfig(data), validate=False)
    assert sorted(paths(train, val)) == sorted(paths(whole))
    of_file = read_data(DataConfig(data / "train.json"), validate=True)
    assert [paths(each) for each in of_file[:2]] == [paths(train), paths(val)]

    with pytest.raises(MissingSplitError, match=r"no COCO annotations for 'val'.*--val-fraction"):
        read_data(DataConfig(data), True, named=["val_split"])
    with pytest.raises(
        ConfigError, match=r"train\.json is one annotation file: name the validation set too \(val_data\)"
    ):
        read_data(DataConfig(data / "train.json"), True, named=["val_split"])
    with pytest.raises(MissingSplitError):
        read_data(DataConfig(data, val_data=data), validate=True)


def test_a_named_fraction_splits_in_any_case(shapes: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "paa"):
        train, val, _ = read_data(DataConfig(shapes, val_fraction=0.5), True, named=["val_fraction"])
    assert val is not None
    assert len(paths(train, val)) == 8
    assert set(paths(train)).isdisjoint(paths(val))
    assert "as --val-fraction says: a share of 0.5" in caplog.text


def test_a_resumed_run_has_the_same_split(tmp_path: Path, shapes: Path, micro: Micro) -> None:
    def config(**changes: Any) -> Any:
        data = {"path": shapes / "train.json", "val_fraction": 0.3, **changes}
        return micro(tmp_path / "run", data=data, validation={"batch_size": 1}, named=("data.val_fraction",))

    before = paths(*read_data(config().data, True, named=["val_fraction"])[:2])
    train(config(), CPU)
    with set_up(replace(config(), resume="last"), CPU, ignore, NEVER) as run:
        assert paths(run.loader.dataset.index, run.val_index) == before
    with pytest.raises(ConfigError, match=r"val_fraction 0\.3, not 0\.6"):
        train(replace(config(val_fraction=0.6), resume="last"), CPU)


def test_a_class_that_is_only_validated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    boxes = [box(i, i, (5, 5, 20, 20), 3 if i < 9 else 7) for i in range(1, 10)]
    path = coco_json(tmp_path / "train.json", boxes, count=9)
    fraction = next(f for f in np.arange(0.01, 1, 0.01) if 9 in split_off(read_dataset(path), f)[1].image_ids)
    with caplog.at_level(logging.WARNING, "paa"):
        read_data(DataConfig(path, val_fraction=float(fraction)), validate=True)
    assert "all objects of class dog are in the validation images: none is trained on" in caplog.text


def test_repeated_images_are_counted(
    shapes: Path, tmp_path: Path, micro: Micro, caplog: pytest.LogCaptureFixture
) -> None:
    index, *_ = read_data(DataConfig(shapes), validate=False)
    assert "repeats nothing: each class is in 0.01 of the images or more" in repeat_line(index, 0.01)
    with caplog.at_level(logging.INFO, "paa"):
        run = train(micro(tmp_path / "run", augment={"repeat_threshold": 1.0}), CPU)
    (line,) = [record.getMessage() for record in caplog.records if "repeat" in record.getMessage()]
    factors = repeat_factors(index, 1.0)
    assert line == (
        f"repeat-factor sampling: an epoch has about {factors.sum():.0f} images, {(factors > 1).sum()} of the 8 more "
        f"than once, up to {factors.max():.3g} times; schedule.epochs counts 8"
    )
    assert run.step == 4
    with pytest.raises(ConfigError, match=r"repeat_threshold 1\.0, not 0\.0"):
        train(micro(tmp_path / "run", resume="last"), CPU)


def test_a_limit_of_pixels(monkeypatch: pytest.MonkeyPatch, shapes: Path, tmp_path: Path, micro: Micro) -> None:
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "")  # what it is set back to
    with pytest.raises(ConfigError, match="max-pixels must be at least 1"):
        read_data(DataConfig(shapes, max_pixels=0), validate=False)
    with pytest.raises(ImageError, match="more than the limit of 100"):
        train(micro(tmp_path / "run", data={"max_pixels": 100}), CPU)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_stops_the_run(tmp_path: Path, shapes: Path, micro: Micro, workers: int) -> None:
    data, name = damage_an_image(shapes, tmp_path / "data")
    with pytest.raises(ImageError, match=name):
        train(micro(tmp_path / "run", data={"path": data}, runtime={"workers": workers}), CPU)


def test_an_unreadable_image_is_skipped(
    tmp_path: Path, shapes: Path, micro: Micro, caplog: pytest.LogCaptureFixture
) -> None:
    data, name = damage_an_image(shapes, tmp_path / "data")
    with caplog.at_level(logging.WARNING, "paa"):
        run = train(micro(tmp_path / "run", data={"path": data, "skip_bad": True}), CPU)
    assert len(read_log(run.log)) == 4
    (line,) = (run.folder / "left_out.txt").read_text().splitlines()
    assert line.startswith("train: ")
    assert name in line


def test_images_left_out_while_training(
    tmp_path: Path, shapes: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = [image["file_name"] for image in json.loads((shapes / "train.json").read_text())["images"]][:3]
    read = datasets.read_image

    def read_image(path: Path, size: tuple[int, int]) -> Any:
        if path.name in names:
            raise ImageError(f"{path}:\n cannot be read")
        return read(path, size)

    monkeypatch.setattr(datasets, "read_image", read_image)
    shared: dict[str, Any] = {"data": {"skip_bad": True}, "schedule": {"steps": 8}}
    with caplog.at_level(logging.INFO, "paa"):
        run = train(micro(tmp_path / "run", **shared), CPU)
    lines = (run.folder / "left_out.txt").read_text().splitlines()
    assert sorted(lines) == [f"train: {shapes / 'images' / name}:  cannot be read" for name in sorted(names)]
    assert "train, while training: left out 3:" in [record.getMessage() for record in caplog.records]

    names[:] = names[:1]
    shared["schedule"] = {"steps": 12}
    resumed = train(micro(tmp_path / "run", resume="last", **shared), CPU)
    assert (resumed.folder / "left_out.txt").read_text().splitlines() == lines


def test_images_without_objects_stay_in_the_validation(tmp_path: Path, shapes: Path) -> None:
    """Whether a data set has a validation split of its own or not: `keep_empty` is about training alone."""
    data = shutil.copytree(shapes, tmp_path / "data")
    content = json.loads((data / "train.json").read_text())
    empty = {image["id"] for image in content["images"][::2]}
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] not in empty]
    (data / "train.json").write_text(json.dumps(content))
    (data / "val.json").unlink()
    with_empty, val, _ = read_data(DataConfig(data, val_fraction=0.5), validate=True)
    without, same_val, _ = read_data(DataConfig(data, val_fraction=0.5, keep_empty=False), validate=True)
    assert val is not None
    assert same_val is not None
    assert paths(val) == paths(same_val)
    assert (np.diff(same_val.offsets) == 0).any()
    assert (np.diff(with_empty.offsets) == 0).any()
    assert (np.diff(without.offsets) > 0).all()
