"""`paa predict` on URLs and videos, and what it shows while it works."""

from __future__ import annotations

import importlib
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

import paa
from paa.commands.main import main
from paa.data.images.read import read_image
from tests.weights.servers import file, serve, status


def test_urls(
    tmp_path: Path, shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    data = (shapes / "images" / "000001.jpg").read_bytes()
    photo, out = shapes / "images" / "000002.jpg", tmp_path / "out"
    answers = [file(data), status(404), file(bytes(200_000)), file(data, length=False)]
    with serve(*answers) as server:
        urls = [f"{server.url}/{path}" for path in ("a/photo.jpg?size=1", "none.jpg", "large.jpg", "b/photo.png")]
        given = "\n".join([urls[1], urls[2], urls[3]])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        command = ["predict", str(checkpoint), urls[0], "-", str(photo), "--device", "cpu", "--output", str(out)]
        with pytest.raises(SystemExit) as ended:
            main([*command, "--url.max-mb", "0.1", "--save", "images", "csv"])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    left_out = [
        f"{urls[1]}: HTTP 404 Not Found",
        f"{urls[2]}: 195.3 kB, more than 102.4 kB; --url.max-mb N allows more",
    ]
    assert (out / "left_out.txt").read_text().splitlines() == left_out
    assert printed.err.splitlines()[:3] == ["paa: images: left out 2:", *(f"paa:   {line}" for line in left_out)]
    records = json.loads((out / "detections.json").read_text())
    assert [record["file"] for record in records] == [urls[0], urls[3], str(photo)]
    assert [record["drawn"] for record in records] == ["photo.jpg", "photo-2.jpg", "000002.jpg"]
    assert all((out / record["drawn"]).is_file() for record in records)
    expected = paa.load(checkpoint, "cpu").predict(shapes / "images" / "000001.jpg", threshold=0.3).to_dicts()
    assert records[0]["detections"] == records[1]["detections"] == expected
    assert len(expected) > 0


def test_a_data_set_never_fetches(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    """URLs in a data set's files are names of images, and no request is made."""
    with serve(status(404)) as server:
        data = json.loads((shapes / "val.json").read_text())
        for image in data["images"]:
            image["file_name"] = f"{server.url}/{image['file_name']}"
        (tmp_path / "val.json").write_text(json.dumps(data))
        (tmp_path / "data.yaml").write_text(yaml.safe_dump({"val": f"{server.url}/images", "names": ["a"]}))
        for path in ("val.json", "data.yaml"):
            with pytest.raises(SystemExit) as ended:
                main(["eval", str(checkpoint), "--data", str(tmp_path / path), "--device", "cpu", "--workers", "0"])
            assert ended.value.code == 2
        assert server.requests == []


def clip_of(shapes: Path, path: Path, count: int) -> Path:
    pytest.importorskip("av", reason="av is an extra")
    from tests.videos import write_video

    images = [read_image(path) for path in sorted((shapes / "images").glob("*.jpg"))]
    return write_video(path, [np.ascontiguousarray(images[i % 3][:64, :64]) for i in range(count)])


def test_a_video(tmp_path: Path, shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, out = clip_of(shapes, tmp_path / "in" / "clip.mkv", 9), tmp_path / "out"
    command = ["predict", str(checkpoint), str(clip.parent), "--device", "cpu", "--output", str(out)]
    main([*command, "--every", "4", "--threshold", "0.2"])
    printed = capsys.readouterr()
    records = json.loads((out / "detections.json").read_text())
    objects = sum(len(record["detections"]) for record in records)
    assert objects > 0
    assert printed.out.splitlines() == [f"{clip}: {objects} objects in 3 frames", f"written to {out}"]
    assert printed.err == ""
    assert [(record["frame"], record["time"]) for record in records] == [(0, 0.0), (4, 0.16), (8, 0.32)]
    assert {path.name for path in out.iterdir()} == {"clip.mp4", "detections.json"}


def ctrl_c_after(records: int, detections: Path) -> threading.Thread:
    """Start a thread that presses Ctrl-C when a detections.json has so many records."""

    def press() -> None:
        while not detections.is_file() or detections.read_text().count('"file"') < records:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    return thread


def test_a_camera_until_ctrl_c(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg draws what the camera sees. Ctrl-C is its end: no error, exit code 0."""
    pytest.importorskip("av", reason="av is an extra")
    module = importlib.import_module("paa.data.video.frames")
    monkeypatch.setattr(module, "_device", lambda number: ("lavfi", "testsrc=size=64x48:rate=50,realtime"))
    pressing = ctrl_c_after(4, tmp_path / "detections.json")
    main(["predict", str(checkpoint), "camera:0", "--every", "2", "--device", "cpu", "--output", str(tmp_path)])
    pressing.join()
    printed = capsys.readouterr()
    records = json.loads((tmp_path / "detections.json").read_text())
    assert [record["frame"] for record in records] == list(range(0, 2 * len(records), 2))
    assert len(list(paa.frames(tmp_path / "camera-0.mp4"))) == len(records) >= 4
    first, last = printed.out.splitlines()
    assert first.startswith("camera:0: ")
    assert first.endswith(f" objects in {len(records)} frames")
    assert last == f"written to {tmp_path}"
    assert printed.err == ""


def test_a_video_is_interrupted(
    tmp_path: Path, shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out = clip_of(shapes, tmp_path / "clip.mp4", 400), tmp_path / "out"
    pressing = ctrl_c_after(3, out / "detections.json")
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(checkpoint), str(clip), "--device", "cpu", "--output", str(out)])
    pressing.join()
    printed = capsys.readouterr()
    assert ended.value.code == 130
    assert printed.err == "paa: interrupted; what was written is whole\n"
    count = len(json.loads((out / "detections.json").read_text()))
    assert 3 <= count < 400
    assert count <= len(list(paa.frames(out / "clip.mp4"))) <= count + 1
    assert {path.name for path in out.iterdir()} == {"clip.mp4", "detections.json"}


def in_terminal(command: list[str], *, stdout: bool, stderr: bool) -> tuple[str, str, str]:
    """Run a command with these streams on a terminal; return what the terminal, and the streams that are not, got."""
    main_side, terminal = pty.openpty()
    shown = b""

    def read() -> None:
        nonlocal shown
        while True:
            try:
                shown += os.read(main_side, 65536)
            except OSError:  # the terminal is closed
                return

    reader = threading.Thread(target=read)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "paa", *command],
        stdin=subprocess.DEVNULL,
        stdout=terminal if stdout else subprocess.PIPE,
        stderr=terminal if stderr else subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        os.close(terminal)
        reader.start()
        out, err = process.communicate(timeout=300)
        reader.join()
        os.close(main_side)
    assert process.returncode == 0, (out, err, shown)
    return shown.decode(), out or "", err or ""


@pytest.mark.parametrize(("stdout", "stderr"), [(True, True), (False, True), (True, False)])
def test_progress_in_a_terminal(tmp_path: Path, shapes: Path, checkpoint: Path, stdout: bool, stderr: bool) -> None:
    clip, out = clip_of(shapes, tmp_path / "clip.mp4", 40), tmp_path / "out"
    photo = shapes / "images" / "000000.jpg"
    command = ["predict", str(checkpoint), str(clip), str(photo), "--device", "cpu", "--output", str(out)]
    shown, printed, errors = in_terminal(command, stdout=stdout, stderr=stderr)
    lines = [f"{clip}: ", f"{photo}: ", f"written to {out}"]
    assert errors == ""
    assert ("images" in shown and "%" in shown and "0:00:0" in shown) == stderr
    if stdout:
        assert all(line in shown for line in lines)
    else:
        assert [line.startswith(expected) for line, expected in zip(printed.splitlines(), lines)] == [True] * 3
        assert "\x1b" not in printed
    if not stderr:
        assert "\x1b" not in shown


def test_coco_results_of_a_prediction_evaluate_as_the_checkpoint_does(
    tmp_path: Path, shapes: Path, checkpoint: Path
) -> None:
    """`predict --threshold 0 --save coco`, and then `eval` on its results, is `eval` of the checkpoint."""
    data = annotated_by_its_own_detections(shapes, checkpoint, tmp_path / "data")
    device = ["--device", "cpu"]
    evaluate = ["--data", str(data), "--draws", "0", *device]
    predict = ["predict", str(checkpoint), str(data / "val"), "--threshold", "0", "--save", "coco", *device]
    main([*predict, "--output", str(tmp_path / "predicted")])
    results = tmp_path / "predicted" / "results.json"
    main(["eval", str(results), *evaluate, "--output", str(tmp_path / "of-results")])
    main(["eval", str(checkpoint), *evaluate, "--batch-size", "1", "--workers", "0", "--output", str(tmp_path / "own")])
    own, of_results = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("own", "of-results"))
    assert 0.3 < own["AP"] < 0.95
    assert of_results == own
    assert len(json.loads(results.read_text())) > 500


CATEGORY_IDS = (5, 15, 25, 35)


def annotated_by_its_own_detections(shapes: Path, checkpoint: Path, data: Path) -> Path:
    """Write a COCO data set whose objects are some of what the checkpoint detects, moved a little.

    So the checkpoint, which was never trained, has an AP worth comparing.
    """
    rng, model = np.random.default_rng(0), paa.load(checkpoint, "cpu")
    images, annotations = [], []
    (data / "val").mkdir(parents=True)
    for i, path in enumerate(sorted((shapes / "images").glob("*.jpg"))):
        shutil.copy(path, data / "val")
        height, width = read_image(path).shape[:2]
        images.append({"id": 7 * i + 3, "file_name": path.name, "width": width, "height": height})
        for found in model.predict(path)[: 6 + i % 3].to_coco(7 * i + 3, CATEGORY_IDS):
            x, y, width, height = found.pop("bbox")
            moved = [x + rng.normal(), y + rng.normal(), width, height]
            about = {"id": len(annotations) + 1, "bbox": moved, "area": width * height, "iscrowd": 0}
            annotations.append({**found, **about})
    categories = [{"id": id, "name": name} for id, name in zip(CATEGORY_IDS, model.names)]
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    (data / "val.json").write_text(text)
    return data
