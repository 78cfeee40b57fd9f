from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import paa
from paa import PAA
from paa.errors import ConfigError, ImageError, RunError
from paa.report.predictions import write_predictions


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> PAA:
    return paa.load(checkpoint, "cpu")


@pytest.fixture
def pictures(tmp_path: Path, shapes: Path) -> list[Path]:
    """Return pictures of which two share their name, and a third has the name that the second's drawing would get."""
    paths = [tmp_path / "in" / name for name in ("x/a.jpg", "y/a.jpg", "y/a-2.jpg", "y/a.png")]
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(shapes / "images" / f"00000{i}.jpg") as picture:
            picture.save(path)
    return paths


def test_files(tmp_path: Path, model: PAA, pictures: list[Path]) -> None:
    out = tmp_path / "out" / "deep"
    counts = write_predictions(model.train(), pictures, out, threshold=0.35)
    records = json.loads((out / "detections.json").read_text())
    assert [record["file"] for record in records] == [str(path) for path in pictures]
    assert len({record["drawn"] for record in records}) == 4
    assert {path.name for path in out.iterdir()} == {"detections.json", *(record["drawn"] for record in records)}
    assert counts == [len(record["detections"]) for record in records]
    assert sum(counts) > 0
    for path, record in zip(pictures, records):
        expected = model.eval().predict(path).above(0.35)
        assert record["detections"] == expected.to_dicts()
        with Image.open(path) as before, Image.open(out / record["drawn"]) as after:
            assert (record["width"], record["height"]) == before.size == after.size
            difference = np.abs(np.asarray(before.convert("RGB"), int) - np.asarray(after.convert("RGB"), int))
        assert (difference.max() > 60) == (len(expected) > 0)  # boxes are drawn, if there are any


def test_threshold(tmp_path: Path, model: PAA, pictures: list[Path]) -> None:
    every = write_predictions(model, pictures[:1], tmp_path / "0", threshold=0)
    none = write_predictions(model, pictures[:1], tmp_path / "1", threshold=1)
    assert every[0] > 10
    assert none == [0]
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="the threshold must be from 0 to 1"):
            write_predictions(model, pictures, tmp_path / "out", threshold=threshold)
    assert not (tmp_path / "out").exists()


def test_pictures_are_never_overwritten(tmp_path: Path, model: PAA, pictures: list[Path]) -> None:
    before = [path.read_bytes() for path in pictures]
    link = tmp_path / "link"
    link.symlink_to(pictures[0].parent)
    for folder in (pictures[0].parent, pictures[1].parent, link):
        with pytest.raises(ConfigError, match="would be overwritten by its drawing; give another --output"):
            write_predictions(model, pictures, folder)
    assert [path.read_bytes() for path in pictures] == before


def test_a_picture_that_cannot_be_read(tmp_path: Path, model: PAA, pictures: list[Path]) -> None:
    pictures[1].write_bytes(pictures[1].read_bytes()[:500])
    with pytest.raises(ImageError, match=r"y/a\.jpg: cannot be read"):
        write_predictions(model, pictures, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [
        "a.jpg"
    ]  # what was drawn before; no detections.json
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(ImageError):
        write_predictions(model, pictures[1:], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file(model: PAA, pictures: list[Path]) -> None:
    with pytest.raises(RunError, match="is not a folder one can write to"):
        write_predictions(model, pictures, pictures[0])
