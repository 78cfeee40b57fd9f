"""Runs of batch inference: what continues, what is refused, and where the results may be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet
import pytest

import paa
from paa.batch_inference.output_folder import OutputFolder
from paa.batch_inference.run import detect_in_shards
from paa.batch_inference.shards import begin_or_continue, describe, shards_of
from paa.commands.main import main
from paa.config import FetchConfig, InferenceConfig, TilesConfig
from paa.errors import ConfigError, ImageError, RunError
from tests.batch_inference.results import Expected, check_once, rows


@pytest.mark.parametrize(("count", "size"), [(0, 3), (1, 3), (3, 3), (10, 3), (7, 1), (5, 100)])
def test_shards_are_a_partition_in_order(count: int, size: int) -> None:
    images = [f"{number}.jpg" for number in range(count)]
    shards = shards_of(images, size)
    assert [image for shard in shards for image in shard.images] == images
    assert [shard.number for shard in shards] == list(range(-(-count // size)))
    assert all(1 <= len(shard.images) <= size for shard in shards)
    assert len({shard.file for shard in shards}) == len(shards)


def test_a_shard_without_images_is_refused() -> None:
    with pytest.raises(ConfigError, match="a shard must have at least 1 image, got 0"):
        shards_of(["a.jpg"], 0)


TILES = InferenceConfig(threshold=0.3, tiles=TilesConfig(800))


@pytest.fixture
def detector(checkpoint: Path) -> paa.BatchDetector:
    return paa.BatchDetector(checkpoint, device="cpu")


def test_what_does_not_change_results_may_change(
    detector: paa.BatchDetector, images: list[str], expected: Expected, tmp_path: Path
) -> None:
    out = OutputFolder(str(tmp_path / "out"))
    detect_in_shards(detector, images, out, workers=1, shard_size=5)
    (tmp_path / "out" / "detections" / "0000001.parquet").unlink()
    copy = tmp_path / "copy.pt"
    copy.write_bytes(Path(detector.checkpoint).read_bytes())
    done = detect_in_shards(replace(detector, readers=1, checkpoint=copy), images, out, workers=1, shard_size=5)
    assert (done.before, done.images, done.errors) == (7, 5, 1)
    check_once(tmp_path / "out", images, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda detector, images: (replace(detector, top_k=3), images, 5), r"top_k: None, now 3\); name another"),
        (lambda detector, images: (detector, images[1:], 5), r"\(images: 12, now 11; "),
        (lambda detector, images: (detector, [*images[1:], "z.jpg"], 5), r"\(images_sha256: \w+, now \w+\)"),
        (lambda detector, images: (detector, images, 6), r"\(shard_size: 5, now 6\)"),
        (
            lambda detector, images: (replace(detector, inference=InferenceConfig(threshold=0.5)), images, 5),
            r"inference\.threshold: 0\.3, now 0\.5\)",
        ),
        (
            lambda detector, images: (replace(detector, inference=TILES), images, 5),
            r"inference\.tiles\.size: None, now 800; ",
        ),
        (
            lambda detector, images: (replace(detector, fetching=FetchConfig(max_mb=1)), images, 5),
            r"fetching\.max_mb: 50\.0, now 1\)",
        ),
    ],
)
def test_another_run_in_the_folder(
    change: Callable[..., Any], message: str, detector: paa.BatchDetector, images: list[str], tmp_path: Path
) -> None:
    out = OutputFolder(str(tmp_path))
    for _ in range(2):  # begun, and continued
        begin_or_continue(out, describe(detector, images, 5))
    with pytest.raises(RunError, match=message):
        begin_or_continue(out, describe(*change(detector, images)))


def test_two_runs_at_a_time(detector: paa.BatchDetector, images: list[str], tmp_path: Path) -> None:
    out = OutputFolder(str(tmp_path / "out"))
    with out.locked(), pytest.raises(RunError, match="is writing this run"):
        detect_in_shards(detector, images[:2], out)
    assert not (tmp_path / "out" / "run.json").exists()


def test_another_checkpoint_and_damaged_descriptions(
    detector: paa.BatchDetector, images: list[str], tmp_path: Path
) -> None:
    out, description = OutputFolder(str(tmp_path)), tmp_path / "run.json"
    begin_or_continue(out, describe(detector, images, 5))
    (tmp_path / "other.pt").write_bytes(b"other")
    with pytest.raises(RunError, match=r"holds another run \(checkpoint_sha256: \w+, now \w+"):
        begin_or_continue(out, describe(replace(detector, checkpoint=tmp_path / "other.pt"), images, 5))
    earlier = describe(detector, images, 5) | {"checkpoint": "mmdet/r50_1x", "checkpoint_sha256": None}
    description.write_text(json.dumps(earlier))  # of an earlier version, by a name
    with pytest.raises(RunError, match=r"holds another run \(checkpoint_sha256: mmdet/r50_1x, now \w+"):
        begin_or_continue(out, describe(detector, images, 5))
    begin_or_continue(out, describe(detector, images, 5) | {"checkpoint": "mmdet/r50_1x"})
    for text in ("{", "[]", "{}", '{"settings": 3}'):
        description.write_text(text)
        with pytest.raises(RunError, match=r"run\.json: damaged, or of another version; name another --output"):
            begin_or_continue(out, describe(detector, images, 5))
    description.unlink()
    out.write_text("detections/0000000.parquet", "")
    with pytest.raises(RunError, match=r"has results without a run\.json"):
        begin_or_continue(out, describe(detector, images, 5))


def test_a_model_by_name_is_known_by_its_file(
    detector: paa.BatchDetector, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"mmdet/r50_1x": Path(detector.checkpoint), "mmdet/r101_1x": tmp_path / "r101.pt"}
    files["mmdet/r101_1x"].write_bytes(b"other")
    monkeypatch.setattr("paa.batch_inference.detector.local_file", files.get)
    out = OutputFolder(str(tmp_path / "out"))
    begin_or_continue(out, describe(replace(detector, checkpoint="mmdet/r50_1x"), images, 5))
    begin_or_continue(out, describe(replace(detector, checkpoint="mmdet/r50_1x"), images, 5))
    with pytest.raises(RunError, match=r"holds another run \(checkpoint_sha256: \w+, now \w+"):
        begin_or_continue(out, describe(replace(detector, checkpoint="mmdet/r101_1x"), images, 5))


def test_a_checkpoint_that_is_replaced_during_the_run_ends_it(
    detector: paa.BatchDetector, images: list[str], tmp_path: Path
) -> None:
    """As by a training that goes on. The shards before stay, and a copy of the first one continues."""
    copy, other = tmp_path / "last.pt", tmp_path / "other.pt"
    copy.write_bytes(content := Path(detector.checkpoint).read_bytes())
    other.write_bytes(b"another")
    replaced = replace(detector, checkpoint=copy)
    out = OutputFolder(str(tmp_path / "out"))

    def replace_it(done: int) -> None:
        if done:
            other.replace(copy)

    with pytest.raises(
        RunError, match=r"last\.pt: is not the checkpoint any more that the run began with; name a copy"
    ):
        detect_in_shards(replaced, images, out, workers=1, shard_size=5, listen=replace_it)
    assert out.names("detections") == {"0000000.parquet"}
    copy.write_bytes(content)
    done = detect_in_shards(replaced, images, out, workers=1, shard_size=5)
    assert (done.before, done.images) == (5, len(images) - 5)


def test_stores_for_images_and_results(
    detector: paa.BatchDetector, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All in a store: images there, results there, and the command line names both by their addresses."""
    memory = fsspec.filesystem("memory")
    for path in photos.iterdir():
        memory.pipe_file(f"/in/{path.name}", path.read_bytes())
    command = ["predict", str(detector.checkpoint), "memory://in", "--engine", "processes", "--engine.workers", "1"]
    command += ["--engine.shard-size", "5", "--output", "memory://results/run", "--device", "cpu"]
    try:
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 1
        printed = capsys.readouterr()
        first, last = printed.out.splitlines()
        assert first.startswith("12 images: ")
        assert last == "written to memory://results/run"
        assert printed.err.splitlines()[:2] == [
            "paa: images: left out 1:",
            "paa:   memory:///in/03.jpg: a text, not an image",
        ]
        (tmp_path / "copy").mkdir()
        memory.get("/results/run", str(tmp_path / "copy"), recursive=True)
        main([*command, "--skip-bad"])
        assert capsys.readouterr().out.splitlines()[0] == "12 images were finished before; 0 images: 0 objects"
    finally:
        for folder in ("/in", "/results"):
            memory.rm(folder, recursive=True)
    (copy,) = (path.parent for path in (tmp_path / "copy").rglob("run.json"))
    found = rows(copy, "detections") + rows(copy, "errors")
    assert {Path(row["image"]).name for row in found} == {path.name for path in photos.iterdir()}
    assert sorted(path.name for path in copy.iterdir()) == ["detections", "errors", "run.json"]


def test_an_image_that_cannot_be_named_in_unicode(detector: paa.BatchDetector, photos: Path, tmp_path: Path) -> None:
    strange = tmp_path / "a\udce9.jpg"
    strange.write_bytes((photos / "00.jpg").read_bytes())
    detect_in_shards(detector, [str(strange)], OutputFolder(str(tmp_path / "out")), workers=1)
    assert {row["image"] for row in rows(tmp_path / "out", "detections")} == {f"{tmp_path}/a\\udce9.jpg"}


def test_an_output_that_cannot_be_written(detector: paa.BatchDetector, images: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((RunError, OSError)):
        detect_in_shards(detector, images, OutputFolder(str(tmp_path / "file" / "out")), workers=1)


def test_a_file_of_a_shard_that_fails_is_not_there(
    detector: paa.BatchDetector, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in a folder nor in a store, and nothing is left of it in the folder that readers see."""
    written = pyarrow.parquet.ParquetWriter.write_table

    def fail(self: Any, *arguments: Any) -> None:
        written(self, *arguments)
        raise ImageError("stopped")

    monkeypatch.setattr(pyarrow.parquet.ParquetWriter, "write_table", fail)
    for output in (str(tmp_path), "memory://failed"):
        with pytest.raises(ImageError, match="stopped"):
            detect_in_shards(detector, images[:2], OutputFolder(output), workers=1)
        assert OutputFolder(output).names("detections") == set()
    fsspec.filesystem("memory").rm("/failed", recursive=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--save", "csv"), "--engine writes Parquet files alone: leave --save out"),
        (("--every", "2"), "--engine takes images alone: --every is for videos"),
        (("--engine.workers", "0"), "--engine.workers must be at least 1, got 0"),
        (("--engine.shard-size", "0"), "--engine.shard-size must be at least 1, got 0"),
        (("--engine.readers", "0"), "the number of readers must be at least 1, got 0"),
        (("--classes", "cow"), "--classes: the model has no class cow"),
    ],
)
def test_options_that_an_engine_has_no_use_for(
    options: tuple[str, ...],
    message: str,
    checkpoint: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["predict", str(checkpoint), str(photos), "--engine", "processes", "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main([*command, *options])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_options_of_an_engine_that_is_not_named(
    checkpoint: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["predict", str(checkpoint), str(photos), "--engine.workers", "2"])
    assert capsys.readouterr().err == "paa: error: the options --engine.* need --engine\n"
