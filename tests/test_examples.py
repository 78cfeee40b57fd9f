"""The examples run: objects that move through a video keep their ids, and other engines detect what `predict` does."""

from __future__ import annotations

import csv
import importlib.util
import os
import shutil
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import paa
from paa import Detections

EXAMPLES = Path(__file__).parents[1] / "examples"
COLOURS = {"circle": (230, 40, 40), "square": (40, 230, 40), "star": (40, 40, 230)}
HIDDEN = range(14, 20)  # the frames in which the square is not seen
SIDE = 24


@pytest.fixture
def example() -> ModuleType:
    pytest.importorskip("trackers", reason="trackers is not installed; it needs a newer numpy than the lowest")
    pytest.importorskip("av", reason="av is an extra")
    return example_of("track")


def example_of(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def box(name: str, i: int) -> tuple[float, float]:
    """Return where an object's top left corner is in frame i: two pass each other, one goes down."""
    return {"circle": (4 + 4 * i, 10), "square": (164 - 4 * i, 44), "star": (90, 2 + 2 * i)}[name]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Return a video of 40 frames in which three objects move, and one is not seen for a while."""
    from tests.videos import write_video

    images = []
    for i in range(40):
        image = np.full((112, 192, 3), 128, np.uint8)
        for name, colour in COLOURS.items():
            x, y = (int(value) for value in box(name, i))
            if name != "square" or i not in HIDDEN:
                image[y : y + SIDE, x : x + SIDE] = colour
        images.append(image)
    return write_video(tmp_path / "moving.mp4", images, rate=25)


def by_colour(image: np.ndarray, threshold: float) -> Detections:
    """Stand in for a detector: return the objects of each colour, with scores and boxes that waver, and a false one."""
    rng = np.random.default_rng(int(image[:4, :4].sum()))
    boxes, labels = [[150.0, 90.0, 170.0, 110.0]], [0]
    for label, colour in enumerate(COLOURS.values()):
        rows, columns = np.nonzero(np.abs(image.astype(int) - colour).max(axis=2) < 60)
        if len(rows) > 60:
            corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            boxes.append([corner + rng.normal() for corner in corners])
            labels.append(label)
    scores = [0.15, *rng.uniform(0.55, 0.9, len(labels) - 1)]
    found = Detections(np.array(boxes, np.float32), np.array(scores, np.float32), np.array(labels), tuple(COLOURS))
    return found.above(threshold)


@pytest.mark.parametrize("every", [1, 2])
def test_ids_stay_on_moving_objects(example: ModuleType, clip: Path, every: int) -> None:
    model = SimpleNamespace(predict=lambda image, threshold: by_colour(image, threshold))
    ids: dict[str, list[int]] = defaultdict(list)
    for frame, objects in example.tracked_frames(model, clip, every):
        for (x1, y1, x2, y2), id, name in zip(objects.xyxy, objects.tracker_id, objects.data["class_name"]):
            x, y = box(name, frame.index)
            hidden_by_others = min(x2 - x1, y2 - y1) < SIDE - 6  # where they pass over each other
            assert hidden_by_others or abs(x1 - x) + abs(y1 - y) < 16
            ids[str(name)].append(int(id))
    assert ids.keys() == COLOURS.keys()
    assert all(len(set(each)) == 1 for each in ids.values()), ids  # one id each, also after not being seen
    assert len({each[0] for each in ids.values()}) == 3
    assert len(ids["circle"]) >= 40 // every - 3
    assert len(ids["square"]) >= (40 - len(HIDDEN)) // every - 4


def test_files(
    example: ModuleType, clip: Path, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a real checkpoint, of whose objects ByteTrack makes what it can."""
    out = tmp_path / "tracked"
    example.main([str(checkpoint), str(clip), "--output", str(out), "--every", "2", "--device", "cpu"])
    with (out / "tracks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    ids = {int(row["id"]) for row in rows}
    assert len(ids) > 0
    assert capsys.readouterr().out == f"{len(ids)} objects; written to {out}\n"
    assert {int(row["frame"]) % 2 for row in rows} == {0}
    got = list(paa.frames(out / "tracked.mp4"))
    assert len(got) == 20
    assert {frame.image.shape for frame in got} == {(112, 192, 3)}


def predicted(checkpoint: Path, folder: Path) -> Counter[tuple[str, float]]:
    """Return each detection of `PAA.predict` in the images of a folder, by file name and score."""
    model = paa.load(checkpoint, "cpu").optimise("float32")
    found = Counter[tuple[str, float]]()
    for path in folder.iterdir():
        found.update((path.name, round(float(score), 5)) for score in model.predict(path, threshold=0.3).scores)
    assert len(found) > 20
    return found


def written(path: Path) -> Counter[tuple[str, float]]:
    from pyarrow import dataset

    rows = dataset.dataset(path, format="parquet").to_table(columns=["image", "score", "error"]).to_pylist()
    assert {row["error"] for row in rows} == {None}
    return Counter((Path(row["image"]).name, round(row["score"], 5)) for row in rows)


@pytest.mark.slow
def test_a_process_pool(checkpoint: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is an extra")
    out = tmp_path / "detections.parquet"
    command = [str(checkpoint), str(shapes / "images"), "--output", str(out), "--processes", "1"]
    example_of("process_pool").main(command)
    expected = predicted(checkpoint, shapes / "images")
    assert written(out) == expected
    assert capsys.readouterr().out == f"{expected.total()} objects, 0 images that cannot be read\n"


@pytest.mark.slow
def test_spark(
    checkpoint: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyspark", reason="pyspark is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is an extra")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    source = Path(paa.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(source), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--master local[1] --conf spark.ui.enabled=false pyspark-shell")
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    example, out = example_of("spark"), tmp_path / "detections"
    try:
        example.main([str(checkpoint), str(shapes / "images"), "--output", str(out), "--device", "cpu"])
    finally:
        if session := example.SparkSession.getActiveSession():
            session.stop()
    expected = predicted(checkpoint, shapes / "images")
    assert written(out) == expected
    assert capsys.readouterr().out == f"{expected.total()} objects, 0 images that cannot be read\n"
