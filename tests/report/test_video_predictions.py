"""Videos through a prediction: every output has the frames with their numbers and times, and the video is drawn."""

from __future__ import annotations

import csv
import importlib
import json
import os
import signal
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import paa
from paa import PAA
from paa.config import InferenceConfig
from paa.data.images.read import read_image
from paa.errors import ConfigError, ImageError
from paa.inference.sources import Named
from paa.report.outputs.entry import Entry
from paa.report.predictions import write_predictions
from tests.videos import av, noise, write_video

INFERENCE = InferenceConfig(threshold=0.35)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> PAA:
    return paa.load(checkpoint, "cpu")


@pytest.fixture
def clip(tmp_path: Path, shapes: Path) -> Path:
    """Return a video of the images of a data set, with times of its own."""
    images = [read_image(shapes / "images" / f"00000{i}.jpg")[:64, :64] for i in range(8)]
    images = [np.pad(image, ((0, 64 - image.shape[0]), (0, 64 - image.shape[1]), (0, 0))) for image in images]
    return write_video(tmp_path / "in" / "clip.mp4", images, times=TIMES)


TIMES = [0, 0.04, 0.08, 0.5, 0.54, 1.0, 2.0, 2.04]


def test_every_output_has_the_frames(tmp_path: Path, model: PAA, clip: Path, shapes: Path) -> None:
    arrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an extra")
    out, photo = tmp_path / "out", shapes / "images" / "000001.jpg"
    named = [Named(str(photo)), Named(str(clip), "video"), Named(str(clip), "video")]
    heard: list[Entry] = []
    counts, left_out = write_predictions(
        model,
        named,
        out,
        INFERENCE,
        every=3,
        save=("images", "coco", "yolo", "csv", "parquet"),
        listen=heard.append,
    )
    assert left_out == []
    records = json.loads((out / "detections.json").read_text())
    frames = list(paa.frames(clip, every=3))
    assert [frame.index for frame in frames] == [0, 3, 6]
    expected = [model.predict(photo, threshold=0.35)]
    expected += [model.predict(frame.image, threshold=0.35) for frame in frames] * 2
    assert counts == [len(found) for found in expected]
    assert min(counts[1:]) > 0
    assert [record["detections"] for record in records] == [found.to_dicts() for found in expected]
    assert [(entry.file, entry.frame) for entry in heard] == [(r["file"], r.get("frame")) for r in records]

    assert list(records[0]) == ["file", "drawn", "width", "height", "detections"]
    assert list(records[1]) == ["file", "frame", "time", "drawn", "width", "height", "detections"]
    for start, drawn in ((1, "clip.mp4"), (4, "clip-2.mp4")):
        for record, frame in zip(records[start : start + 3], frames):
            assert (record["file"], record["frame"], record["time"]) == (str(clip), frame.index, frame.time)
            assert (record["drawn"], record["width"], record["height"]) == (drawn, 64, 64)
    assert [record["time"] for record in records[1:4]] == pytest.approx([0, 0.5, 2.0], abs=0.001)

    moments = [("", ""), *[(str(frame.index), str(frame.time)) for frame in frames] * 2]
    with (out / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["frame"], r["time"]) for r in rows] == [m for m, n in zip(moments, counts) for _ in range(n)]
    table = arrow.read_table(out / "detections.parquet").to_pylist()
    assert [tuple("" if r[key] is None else str(r[key]) for key in ("frame", "time")) for r in table] == [
        (r["frame"], r["time"]) for r in rows
    ]

    results = json.loads((out / "results.json").read_text())
    ids = [str(photo), *(f"{stem}/{frame.index:06d}" for stem in ("clip", "clip-2") for frame in frames)]
    assert [result["image_id"] for result in results] == [id for id, n in zip(ids, counts) for _ in range(n)]
    assert [(r["frame"], r["time"], r["file"]) for r in results[-counts[-1] :]] == [
        (6, frames[2].time, str(clip))
    ] * counts[-1]
    assert {str(path.relative_to(out / "labels")) for path in (out / "labels").rglob("*.txt")} == {
        "000001.txt",
        *(f"{stem}/{frame.index:06d}.txt" for stem in ("clip", "clip-2") for frame in frames),
    }


def test_the_drawn_video(tmp_path: Path, model: PAA, clip: Path) -> None:
    out = tmp_path / "out"
    write_predictions(model, [Named(str(clip), "video")], out, INFERENCE)
    assert {path.name for path in out.iterdir()} == {"clip.mp4", "detections.json"}
    before, after = list(paa.frames(clip)), list(paa.frames(out / "clip.mp4"))
    assert [frame.time for frame in after] == pytest.approx([frame.time for frame in before], abs=0.001)
    for given, drawn in zip(before, after):
        expected = np.asarray(model.predict(given.image, threshold=0.35).plot(given.image))
        assert drawn.image.shape == given.image.shape
        # it is the drawing, but for what H.264 loses: much nearer to it than to the frame
        error = np.abs(drawn.image.astype(int) - expected).mean()
        assert error < 0.35 * np.abs(given.image.astype(int) - expected).mean()


def test_detections_alone_need_no_encoder(
    tmp_path: Path, model: PAA, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paa.report.outputs.drawings.video_file", None)
    write_predictions(model, [Named(str(clip), "video")], tmp_path / "out", save=())
    records = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [record["drawn"] for record in records] == [None] * 8


def test_a_video_is_never_overwritten(tmp_path: Path, model: PAA, clip: Path) -> None:
    before = clip.read_bytes()
    with pytest.raises(ConfigError, match="would be overwritten by its drawing; give another --output"):
        write_predictions(model, [Named(str(clip), "video")], clip.parent)
    assert clip.read_bytes() == before


def test_another_video_is_never_overwritten(tmp_path: Path, model: PAA, clip: Path) -> None:
    given = [Named(str(clip), "video")]
    out = tmp_path / "out"
    write_predictions(model, given, out, INFERENCE)
    (out / "detections.json").unlink()
    write_predictions(model, given, out, INFERENCE)  # its own drawing
    (out / "clip.mp4").write_bytes(clip.read_bytes())
    (out / "detections.json").unlink()
    with pytest.raises(ConfigError, match=r"clip\.mp4: is not of an earlier prediction; give another --output"):
        write_predictions(model, given, out, INFERENCE)
    assert (out / "clip.mp4").read_bytes() == clip.read_bytes()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_video_without_its_end(tmp_path: Path, model: PAA, shapes: Path, batch_size: int) -> None:
    """What could be read is written, one line says where that ended, and the next source has its turn."""
    path = write_video(tmp_path / "cut.mp4", noise(60), index_first=True)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    named = [Named(str(path), "video"), Named(str(shapes / "images" / "000000.jpg"))]
    counts, left_out = write_predictions(model, named, tmp_path / "out", batch_size=batch_size)
    drawn = list(paa.frames(tmp_path / "out" / "cut.mp4"))
    assert 5 < len(drawn) == len(counts) - 1 < 60
    assert len(left_out) == 1
    assert left_out[0].startswith(f"{path}: what comes after frame {len(drawn) - 1} (")
    assert (tmp_path / "out" / "left_out.txt").read_text() == f"{left_out[0]}\n"


def test_videos_that_cannot_be_read(tmp_path: Path, model: PAA, clip: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    with pytest.raises(ImageError, match=r"bad\.mp4: not a video"):
        write_predictions(model, [Named(str(bad), "video")], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    named = [Named(str(bad), "video"), Named(str(clip), "video"), Named("camera:987", "camera")]
    counts, left_out = write_predictions(model, named, tmp_path / "out")
    assert len(counts) == 8
    assert [line.split(": ")[0] for line in left_out] == [str(bad), "camera:987"]


@pytest.fixture
def drawn_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let FFmpeg draw what a camera sees: 50 images a second, in real time, for ever."""
    module = importlib.import_module("paa.data.video.frames")
    monkeypatch.setattr(module, "_device", lambda number: ("lavfi", "testsrc=size=64x48:rate=50,realtime"))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_ctrl_c_is_the_end_of_a_camera(
    tmp_path: Path, model: PAA, clip: Path, drawn_camera: None, batch_size: int
) -> None:
    """All files are whole, as at the end of a video file, and what was named after the camera follows."""
    heard: list[tuple[str, int | None]] = []

    def listen(entry: Entry) -> None:
        heard.append((entry.file, entry.frame))
        if len(heard) == 10:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    named = [Named("camera:0", "camera"), Named(str(clip), "video")]
    _, left_out = write_predictions(
        model, named, tmp_path, batch_size=batch_size, save=("images", "parquet"), listen=listen
    )
    assert signal.getsignal(signal.SIGINT) is before
    assert left_out == []
    camera = [frame for file, frame in heard if file == "camera:0"]
    assert camera == list(range(len(camera)))
    assert 10 <= len(camera) <= 10 + 2 * batch_size
    assert [frame for file, frame in heard if file != "camera:0"] == list(range(8))
    assert len(list(paa.frames(tmp_path / "camera-0.mp4"))) == len(camera)
    assert len(list(paa.frames(tmp_path / "clip.mp4"))) == 8
    assert (tmp_path / "detections.parquet").exists()


def test_ctrl_c_in_a_video_file_leaves_whole_files(tmp_path: Path, model: PAA, clip: Path) -> None:
    def listen(entry: Entry) -> None:
        if entry.frame == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        write_predictions(model, [Named(str(clip), "video")], tmp_path / "out", listen=listen)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"clip.mp4", "detections.json"}
    assert len(list(paa.frames(tmp_path / "out" / "clip.mp4"))) == 5
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())) == 5


def test_memory_does_not_grow_with_a_video(tmp_path: Path, model: PAA) -> None:
    """Between its tenth and its last frame, Python's and numpy's memory grows by less than two of its frames."""
    path = write_video(tmp_path / "long.mp4", noise(150, size=(360, 480)))
    sizes: list[int] = []
    tracemalloc.start()
    try:
        write_predictions(
            model,
            [Named(str(path), "video")],
            tmp_path / "out",
            save=("images", "coco"),
            listen=lambda entry: sizes.append(tracemalloc.get_traced_memory()[0]),
        )
    finally:
        tracemalloc.stop()
    assert len(sizes) == 150
    assert max(sizes[10:]) - sizes[10] < 2 * 360 * 480 * 3


def test_the_image_of_an_earlier_frame_is_not_an_input(tmp_path: Path, model: PAA, clip: Path) -> None:
    """A folder that holds the output is no source of drawn videos."""
    from paa.inference.sources import find_sources

    out = clip.parent / "out"
    write_predictions(model, [Named(str(clip), "video")], out)
    assert find_sources([str(clip.parent)], out) == [Named(str(clip), "video")]


def test_a_frame_size_is_that_of_the_file(tmp_path: Path, model: PAA) -> None:
    """The video keeps its size where sides are even, whatever the network sees."""
    path = write_video(tmp_path / "wide.mp4", noise(3, size=(50, 200)))
    write_predictions(model, [Named(str(path), "video")], tmp_path / "out")
    with av.open(str(tmp_path / "out" / "wide.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (200, 50)
