"""Training on tiles of the images, and validating on whole images with tiles."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import paa
from paa.config import InferenceConfig, LoadingConfig, TilesConfig, TrainTilesConfig
from paa.data.read import read_dataset
from paa.errors import ConfigError, DataError
from paa.evaluation.dataset import evaluate_dataset
from paa.training.records import TrainResult, ignore
from paa.training.setup import set_up
from paa.training.train import train
from tests.training.runs import CPU, NEVER, KilledError, Micro, differences, kill_at, load, read_log, timeless

TILES = TrainTilesConfig(40, 0.3, empty=0.2)
CHANGES: dict[str, Any] = {
    "augment": {"tiles": TILES, "scale_jitter": (0.7, 1.4)},
    "data": {"val_split": "train"},
    "validation": {"batch_size": 2, "interval": 3},
}


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory, micro: Micro, checkpoint: Path) -> TrainResult:
    """Return a run on tiles that was never stopped."""
    return train(micro(tmp_path_factory.mktemp("tiled") / "run", init=str(checkpoint), **CHANGES), CPU)


def test_the_images_of_a_run_are_tiles(
    tmp_path: Path, micro: Micro, shapes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = read_dataset(shapes, "val")
    changes = {"augment": {"tiles": TILES}, "data": {"val_split": "val"}, "validation": {"batch_size": 2}}
    with caplog.at_level(logging.INFO, "paa"), set_up(micro(tmp_path / "run", **changes), CPU, ignore, NEVER) as run:
        index, val_index = run.loader.dataset.index, run.val_index
        assert index.windows is not None
        assert index.sizes.max() <= 96
        assert val_index is not None
        assert val_index.windows is None
        assert (val_index.sizes == whole.sizes).all()
        assert run.state.run_config["images of the data set"] == len(index) > 8
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("tiles: ")]
    assert line.startswith(f"tiles: 8 images give {len(index)} tiles of 40 pixels to train on, ")


def test_tiles_without_any_object(tmp_path: Path, shapes: Path) -> None:
    data = shutil.copytree(shapes, tmp_path / "data")
    coco = json.loads((data / "train.json").read_text())
    (data / "train.json").write_text(json.dumps({**coco, "annotations": []}))
    with pytest.raises(DataError, match="nothing to train on: no objects"):
        paa.train(data, output=tmp_path / "run", augment={"tiles": {"size": 48}}, device="cpu")


def test_images_without_objects_are_left_out_if_asked(tmp_path: Path, micro: Micro) -> None:
    tiles = replace(TILES, size=32, empty=1000)
    counts = []
    for keep_empty in (True, False):
        changes = {"augment": {"tiles": tiles}, "data": {"keep_empty": keep_empty}}
        with set_up(micro(tmp_path / str(keep_empty), **changes), CPU, ignore, NEVER) as run:
            counts.append(len(run.loader.dataset.index))
    assert counts[0] > counts[1]


def test_the_numbers_of_a_validation_are_those_of_the_whole_images(
    tiled: TrainResult, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, index = paa.load(tiled.last, "cpu"), read_dataset(shapes, "train")
    logged = read_log(tiled.log)[-1]
    found = []
    for tiles in (TilesConfig(40, 0.3), None):
        evaluated = evaluate_dataset(model, index, CPU, InferenceConfig(tiles=tiles), LoadingConfig(0, batch_size=2))
        assert evaluated is not None
        found.append(evaluated.metrics.summary)
    assert logged["AR100"] > 0
    for name, value in found[0].items():
        assert logged[name] == pytest.approx(value, abs=1e-6), name
    assert found[0] != found[1]


def test_a_run_stopped_and_resumed_is_one_never_stopped(
    tmp_path: Path, micro: Micro, checkpoint: Path, tiled: TrainResult
) -> None:
    folder = tmp_path / "stopped"
    with pytest.raises(KilledError):
        train(micro(folder, init=str(checkpoint), **CHANGES), CPU, kill_at(4))
    resumed = train(micro(folder, init=str(checkpoint), resume="last", **CHANGES), CPU)
    assert differences(load(resumed.last), load(tiled.last)) == []
    assert timeless(read_log(resumed.log)) == timeless(read_log(tiled.log))


@pytest.mark.parametrize(
    ("tiles", "says"),
    [
        (None, "augment.tiles.size 40, not None"),
        (replace(TILES, size=48), "augment.tiles.size 40, not 48"),
        (replace(TILES, empty=0.3), "augment.tiles.empty 0.2, not 0.3"),
    ],
)
def test_a_run_is_not_resumed_with_other_tiles(
    micro: Micro, checkpoint: Path, tiled: TrainResult, tiles: TrainTilesConfig | None, says: str
) -> None:
    changes = {**CHANGES, "augment": {**CHANGES["augment"], "tiles": tiles}}
    with pytest.raises(ConfigError, match=says):
        train(micro(tiled.folder, init=str(checkpoint), resume="last", **changes), CPU)


def test_a_run_on_whole_images_is_not_resumed_with_tiles(tmp_path: Path, micro: Micro) -> None:
    train(micro(tmp_path / "run"), CPU)
    with pytest.raises(ConfigError, match=r"augment\.tiles\.size None, not 40"):
        train(micro(tmp_path / "run", resume="last", augment={"tiles": TILES}), CPU)


def test_tiles_from_python(tmp_path: Path, shapes: Path) -> None:
    options: dict[str, Any] = {"model": {"channels": 16, "tower_depth": 1, "min_size": 64}, "runtime": {"workers": 0}}
    augment = {"min_sizes": [64], "tiles": {"size": 48, "overlap": 0.3}}
    result = paa.train(
        shapes, "r18_nano", output=tmp_path, steps=1, batch_size=2, device="cpu", augment=augment, **options
    )
    assert load(result.last)["training"]["run_config"]["augment"]["tiles"] == {
        "size": 48, "overlap": 0.3, "whole": True, "empty": 0.5
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"tiles\.size must be at least 32 pixels, got 8"):
        paa.train(shapes, output=tmp_path / "other", augment={"tiles": {"size": 8}})
    with pytest.raises(ConfigError, match=r"augment\.tiles cannot be"):
        paa.train(shapes, output=tmp_path / "other", augment={"tiles": 64})
