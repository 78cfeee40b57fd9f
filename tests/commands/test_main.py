from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import paa
import paa.report.tables
from paa.commands.main import Train, main, parse
from paa.config import ModelConfig, MultiScaleConfig, TilesConfig, TrainTilesConfig, to_dict
from paa.recipes import RECIPES
from tests.mounts import run_with_small_disk

Fails = Callable[..., str]


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Return a function that runs a command line which must end with code 2, and returns its one-line error message."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        assert caught.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        # lines that a run logs at its start may come first
        assert [line.startswith("paa: error: ") for line in lines] == [False] * (len(lines) - 1) + [True], lines
        assert all(line.startswith("paa: ") for line in lines), lines
        return lines[-1].removeprefix("paa: error: ")

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, shapes: Path, options: list[str]) -> Path:
    """Return the folder of a run that the command line made."""
    output = tmp_path_factory.mktemp("runs") / "run"
    main(["train", "--data", str(shapes), *options, "--output", str(output), "--val-interval", "4"])
    return output


def read_log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_train(trained: Path) -> None:
    assert {"last.pt", "best.pt", "config.json", "log.jsonl"} <= files(trained)
    assert [record["step"] for record in read_log(trained)] == [1, 2, 3, 4, 4]
    config = json.loads((trained / "config.json").read_text())
    assert config["recipe"]["schedule"]["lr"] == 0.002
    assert config["recipe"]["model"]["backbone"] == "resnet18"
    assert config["recipe"]["model"]["channels"] == 16
    assert config["runtime"]["workers"] == 0
    assert paa.load(trained / "last.pt", "cpu").config.channels == 16


def test_recipes_are_where_the_options_start(tmp_path: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def stop(config: Any, *_: object) -> None:
        seen.append(config)
        raise paa.errors.RunError("seen enough")

    monkeypatch.setattr("paa.training.train.train", stop)
    monkeypatch.chdir(tmp_path)
    for arguments in (
        [],
        ["--recipe=r101_dcn_2x", "--schedule.lr", "0.5", "--model.tower-depth=2"],
        ["--recipe", "r18_nano", "--no-voting", "--val-num", "3", "--resume", "--no-keep-empty"],
        ["--resume", "runs/x/best.pt"],
        ["--val-batch-size", "-1", "--output", "out"],
    ):
        with pytest.raises(SystemExit):
            main(["train", "--data", str(shapes), "--device", "cpu", *arguments])
    plain, dcn, nano, file, quiet = seen
    assert (plain.recipe, plain.auto, dcn.auto) == (RECIPES["auto"], True, False)
    assert (plain.batch_size, plain.output, plain.resume) == (8, Path("runs/auto-shapes"), None)
    assert dcn.recipe.model.dcn_stages == (3, 4, 5)
    assert dcn.recipe.augment == RECIPES["r101_dcn_2x"].augment
    assert (dcn.recipe.schedule.lr, dcn.recipe.schedule.steps, dcn.recipe.model.tower_depth) == (0.5, 180_000, 2)
    assert nano.recipe == RECIPES["r18_nano"]
    assert (nano.batch_size, nano.resume, nano.data.keep_empty) == (8, "last", False)
    assert (nano.validation.voting, nano.validation.limit) == (False, 3)
    assert (file.resume, file.output) == (Path("runs/x/best.pt"), Path("runs/x"))
    assert (quiet.validation.batch_size, quiet.output) == (0, Path("out"))


def test_resume(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    def arguments(*more: str) -> list[str]:
        return ["train", "--data", str(shapes), *options, "--val-batch-size", "0", *more]

    run, moved = tmp_path / "run", tmp_path / "moved"
    main(arguments("--output", str(run), "--schedule.steps", "2"))
    main(arguments("--output", str(run), "--resume"))
    assert [record["step"] for record in read_log(run)] == [1, 2, 3, 4]
    shutil.copytree(run, moved)
    main(arguments("--resume", str(moved / "last.pt"), "--schedule.steps", "5"))
    assert [record["step"] for record in read_log(moved)] == [1, 2, 3, 4, 5]
    assert [record["step"] for record in read_log(run)] == [1, 2, 3, 4]


def test_eval(tmp_path: Path, shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    output = tmp_path / "new" / "evaluation"
    shared = ["eval", str(checkpoint), "--data", str(shapes), "--split", "train", "--workers", "0", "--device", "cpu"]
    main([*shared, "--output", str(output)])
    printed = capsys.readouterr().out
    assert files(output) == {*EVALUATION, "precision_recall.png"}
    metrics = json.loads((output / "metrics.json").read_text())

    truth = COCO(str(shapes / "train.json"))
    judge = COCOeval(truth, truth.loadRes(str(output / "results.json")), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    capsys.readouterr()
    assert metrics["AP50"] > 0
    for name, value in zip(("AP", "AP50", "AP75"), judge.stats):
        assert metrics[name] == pytest.approx(value, abs=1e-9)
    assert metrics["AR100"] == pytest.approx(judge.stats[8], abs=1e-9)

    assert set(metrics["classes"]) == set(metrics["operating_points"]) == {"circle", "square", "triangle", "star"}
    assert f"{100 * metrics['AP50']:.1f}" in printed
    assert f"8 images of {shapes}" in printed
    assert f"{100 * metrics['AP50']:.1f}" in (output / "report.md").read_text()
    for name in ("precision_recall.png", "sheet.jpg"):
        with Image.open(output / name) as image:
            assert min(image.size) > 100

    main([*shared, "--limit", "3", "--no-voting", "--precision", "bfloat16"])
    assert "3 images of" in capsys.readouterr().out


def test_eval_of_results_for_a_part_of_the_images(
    tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5}] * 2
    (tmp_path / "part.json").write_text(json.dumps(results))
    main(["eval", str(tmp_path / "part.json"), "--data", str(shapes), "--split", "train"])
    assert "part.json: no result for 7 of 8 images: as if nothing was found there" in capsys.readouterr().err


def test_eval_gives_the_same_numbers_at_any_batch_size(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    """Images of many sizes, where padding for a larger image of the batch would change the detections."""
    found = []
    for size in (1, 3, 8):
        output = tmp_path / str(size)
        options = ["--split", "train", "--workers", "0", "--device", "cpu", "--batch-size", size, "--output", output]
        main([str(word) for word in ("eval", checkpoint, "--data", shapes, *options)])
        found.append(json.loads((output / "metrics.json").read_text()))
    assert found[0]["AP50"] > 0
    for other in found[1:]:
        for name, value in found[0].items():
            if not isinstance(value, dict):
                assert other[name] == pytest.approx(value, abs=1e-9), name
        assert other["classes"] == found[0]["classes"]


def test_eval_loses_no_file(tmp_path: Path, shapes: Path, checkpoint: Path, fails: Fails) -> None:
    results = tmp_path / "results.json"
    results.write_text("[]")
    run = tmp_path / "run"
    run.mkdir()
    (run / "log.jsonl").write_text("")
    of_somebody = tmp_path / "other"
    of_somebody.mkdir()
    (of_somebody / "report.md").write_text("mine")
    for what, output, says in (
        (results, tmp_path, "results.json: would be overwritten by its evaluation"),
        (checkpoint, of_somebody, "report.md: is not of an earlier evaluation; give another --output"),
        (checkpoint, run, "is the folder of a training run"),
    ):
        assert says in fails("eval", what, "--data", shapes, "--split", "train", "--output", output)
    assert results.read_text() == "[]"
    assert [path.name for path in run.iterdir()] == ["log.jsonl"]


def test_eval_loses_no_file_of_the_data_set(tmp_path: Path, shapes: Path, checkpoint: Path, fails: Fails) -> None:
    """Annotations and images may have the names of what an evaluation writes."""
    data = shutil.copytree(shapes, tmp_path / "data")
    annotations, images = (data / "val.json").rename(data / "results.json"), data / "images"
    for folder in (data, images):
        (folder / "metrics.json").touch()  # as if of an earlier evaluation
    said = fails("eval", checkpoint, "--data", annotations, "--images", images, "--output", data)
    assert said.endswith(f"{annotations}: of the data set, would be overwritten; give another --output")
    content = json.loads(annotations.read_text())
    (images / content["images"][0]["file_name"]).rename(images / "sheet.jpg")
    content["images"][0]["file_name"] = "sheet.jpg"
    annotations.write_text(json.dumps(content))
    said = fails("eval", checkpoint, "--data", annotations, "--images", images, "--output", images)
    assert f"{images / 'sheet.jpg'}: of the data set, would be overwritten" in said


def test_options_of_detection_are_refused_where_nothing_is_detected(tmp_path: Path, shapes: Path, fails: Fails) -> None:
    results = tmp_path / "results.json"
    results.write_text("[]")
    for given in (["--no-voting"], ["--tiles", "64"], ["--nms-iou", "0.1"]):
        said = fails("eval", results, "--data", shapes, *given)
        assert f"{results}: a file of results, on which {given[0]} has no effect" in said
    main(["eval", str(results), "--data", str(shapes), "--device", "cpu", "--max-detections", "200"])
    said = fails("eval", results, "--data", shapes, "--max-detections", "20")
    assert said.endswith(f"{results}: a file of results, of which --max-detections counts 100 at least, not 20")


def test_eval_without_objects(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    data = shutil.copytree(shapes, tmp_path / "data")
    content = json.loads((data / "val.json").read_text())
    (data / "val.json").write_text(json.dumps({**content, "annotations": []}))
    output = tmp_path / "out"
    main(["eval", str(checkpoint), "--data", str(data), "--workers", "0", "--device", "cpu", "--output", str(output)])
    assert files(output) == EVALUATION
    assert json.loads((output / "metrics.json").read_text())["AP"] is None


def test_predict(tmp_path: Path, shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = shapes / "images" / "000003.jpg"
    shared = ["predict", str(checkpoint), "--device", "cpu", "--threshold", "0.4"]
    main([*shared, str(one), "--output", str(tmp_path / "one")])
    assert files(tmp_path / "one") == {"000003.jpg", "detections.json"}
    (record,) = json.loads((tmp_path / "one" / "detections.json").read_text())
    found = paa.load(checkpoint, "cpu").predict(one).above(0.4)
    assert record["detections"] == found.to_dicts()
    assert len(found) > 0
    assert f"{one}: {len(found)} objects" in capsys.readouterr().out
    with Image.open(one) as before, Image.open(tmp_path / "one" / "000003.jpg") as after:
        assert (record["width"], record["height"]) == before.size == after.size

    main([*shared, str(shapes / "images"), str(one), "--batch-size", "4", "--output", str(tmp_path / "all")])
    records = json.loads((tmp_path / "all" / "detections.json").read_text())
    assert [Path(r["file"]).name for r in records] == [f"{i:06d}.jpg" for i in range(10)] + ["000003.jpg"]
    assert files(tmp_path / "all") == {"detections.json", *(r["drawn"] for r in records)}
    assert len(files(tmp_path / "all")) == 12


def test_predict_with_the_thresholds_of_an_evaluation(
    tmp_path: Path, shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], fails: Fails
) -> None:
    """Each class is cut at its operating point, whatever --threshold says, and --classes and --top-k choose after."""
    evaluated, shared = tmp_path / "evaluated", ["--device", "cpu", "--output"]
    main(["eval", str(checkpoint), "--data", str(shapes), "--split", "val", "--workers", "0", *shared, str(evaluated)])
    metrics = json.loads((evaluated / "metrics.json").read_text())["operating_points"]
    least = {name: entry["point"]["threshold"] if entry["point"] else 0.3 for name, entry in metrics.items()}
    assert len(set(least.values())) > 1
    image = shapes / "images" / "000000.jpg"
    command = ["predict", str(checkpoint), str(image), "--thresholds", str(evaluated / "metrics.json")]
    main([*command, *shared, str(tmp_path / "out")])
    every = paa.load(checkpoint, "cpu").predict(image).to_dicts()
    (record,) = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert record["detections"] == [d for d in every if d["score"] >= least[d["name"]]]

    main([*command, *shared, str(tmp_path / "few"), "--top-k", "2", "--threshold", "0", "--classes", "star", "circle"])
    (record,) = json.loads((tmp_path / "few" / "detections.json").read_text())
    chosen = [d for d in every if d["name"] in ("star", "circle") and d["score"] >= least[d["name"]]]
    assert record["detections"] == chosen[:2]
    assert "no class cow; its classes are circle" in fails(*command, *shared, tmp_path / "x", "--classes", "cow")
    assert "not the metrics.json" in fails("predict", checkpoint, image, "--thresholds", image)
    assert not (tmp_path / "x").exists()


def test_predict_reads_a_list(
    tmp_path: Path, shapes: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails
) -> None:
    paths = [str(shapes / "images" / f"00000{i}.jpg") for i in (4, 2, 3)]
    command = ["predict", str(checkpoint), "-", paths[2], "--device", "cpu", "--output", str(tmp_path / "out")]

    def given(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    given(f"{paths[0]}\n\n{paths[1]}\r\n")
    main(command)
    assert [r["file"] for r in json.loads((tmp_path / "out" / "detections.json").read_text())] == paths
    given("\n")
    assert "no images given: standard input has no line" in fails(*command[:3], "--device", "cpu")
    given("nowhere.jpg\n")
    assert "nowhere.jpg: no such file or folder" in fails(*command[:3], "--device", "cpu")


def test_predict_goes_through_the_whole_folder(
    tmp_path: Path, shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = shutil.copytree(shapes / "images", tmp_path / "in")
    bad = [given / f"00000{i}.jpg" for i in (0, 2, 3)]
    for path in bad:
        path.write_bytes(b"")
    (given / "html.jpg").write_text("<!doctype html><html>")
    (given / ".hidden.jpg").write_bytes(b"")
    (given / "a.heic").write_bytes(b"\0\0\0\x18ftypheic")
    output = tmp_path / "out"
    command = ["predict", str(checkpoint), str(given), "--device", "cpu", "--output", str(output)]
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 1
    printed = capsys.readouterr()
    lines = [
        *(f"{path}: an empty file" for path in bad),
        f"{given / 'a.heic'}: a HEIC image, which needs the package pillow-heif (pip install pillow-heif)",
        f"{given / 'html.jpg'}: a web page, not an image: its address gave an error or a log-in page",
    ]
    assert printed.err.splitlines() == [
        "paa: images: left out 5:",
        *(f"paa:   {line}" for line in lines),
        f"paa: all of them are listed in {output / 'left_out.txt'}; with --skip-bad the exit code is 0",
    ]
    assert printed.out.count(" objects\n") == 7
    assert (output / "left_out.txt").read_text().splitlines() == lines
    records = json.loads((output / "detections.json").read_text())
    assert [Path(record["file"]).name for record in records] == [f"00000{i}.jpg" for i in (1, 4, 5, 6, 7, 8, 9)]
    assert files(output) == {"detections.json", "left_out.txt", *(record["drawn"] for record in records)}

    shutil.rmtree(output)
    main([*command, "--skip-bad"])
    again = capsys.readouterr()
    assert again.err == printed.err
    assert json.loads((output / "detections.json").read_text()) == records


def test_max_pixels(
    tmp_path: Path, shapes: Path, options: list[str], checkpoint: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAA_MAX_PIXELS", "100")  # so that it is restored after the test
    out = ["--output", str(tmp_path / "out")]
    evaluate = ["eval", str(checkpoint), "--data", str(shapes), "--device", "cpu", "--workers", "1", *out]
    train = ["train", "--data", str(shapes), *options, "--val-batch-size", "0", "--schedule.steps", "1"]
    for command in (evaluate, [*train, *out]):
        assert "more than the limit of 100: --max-pixels" in fails(*command)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    for command in (evaluate, [*train, "--workers", "1", "--output", str(tmp_path / "run")]):
        monkeypatch.setenv("PAA_MAX_PIXELS", "100")
        main([*command, "--max-pixels", "1000000"])


def test_odd_names(tmp_path: Path, shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = shapes / "images" / "000000.jpg"
    for name in ("[/b].jpg", "[red]x.jpg", "b 猫.jpg"):
        target = tmp_path / "in" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    main(["predict", str(checkpoint), str(tmp_path / "in"), "--device", "cpu", "--output", str(tmp_path / "[/out]")])
    printed = capsys.readouterr().out
    for name in ("[/b].jpg", "[red]x.jpg", "b 猫.jpg", "[/out]"):
        assert name in printed
    data = shutil.copytree(shapes, tmp_path / "[/data]")
    main(["eval", str(checkpoint), "--data", str(data), "--workers", "0", "--device", "cpu"])
    assert f"of {data}" in capsys.readouterr().out


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, says in (
        ([], 2, "usage: paa COMMAND"),
        (["--help"], 0, "recipes: auto, r50_1x"),
        (["--help-all"], 0, "recipes: auto, r50_1x"),
        (["help"], 0, "paa predict CHECKPOINT"),
        (["--version"], 0, paa.__version__),
        (["train", "--help"], 0, "--schedule.lr"),
        (["train", "--recipe", "r18_nano", "--help-all"], 0, "1200"),
        (["eval", "--help"], 0, "--max-detections"),
        (["predict", "--help"], 0, "--threshold"),
        (["demo", "--help"], 0, "--images"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == code
        printed = capsys.readouterr()
        assert says in (printed.err if code else printed.out)  # a usage that nobody asked for is an error


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["train", "--data"],
        ["train", "--data", "x", "--steps", "3"],
        ["train", "--data", "x", "--recipe"],
        ["train", "--data", "x", "--model.channels", "many"],
        ["train", "--data", "x", "--precision", "float16"],
        ["eval", "x.pt"],
        ["eval", "x.pt", "--data", "x", "--format", "kitti"],
        ["predict"],
        ["predict", "x.pt", "--threshold", "high"],
    ],
)
def test_invalid_options(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert f"paa {arguments[0]} --help" in error
    assert "Traceback" not in error


def test_as_a_program(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "paa", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False)

    done = run("predict", checkpoint, shapes / "images" / "000000.jpg", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path / "predictions") == {"000000.jpg", "detections.json"}
    done = run("eval", checkpoint, "--data", "nowhere", "--output", "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "paa: error: nowhere: no such file or folder\n"
    assert not (tmp_path / "out").exists()


def piped(arguments: list[object], reader: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose output `reader` reads in part only; the result has the command's exit code."""
    command = " ".join(shlex.quote(str(word)) for word in [sys.executable, "-m", "paa", *arguments])
    script = f"{command} | {reader}; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=120, env=environment, check=False
    )


def test_an_output_that_nobody_reads(tmp_path: Path, shapes: Path, options: list[str], checkpoint: Path) -> None:
    for arguments in (["train", "--help"], ["--help"]):
        done = piped(arguments, "true")
        assert (done.returncode, done.stderr) == (0, "")
    evaluate: list[object] = ["eval", checkpoint, "--data", shapes, "--device", "cpu", "--workers", 0]
    done = piped([*evaluate, "--output", tmp_path / "out"], "true")
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if not line.startswith("paa: val: ")] == []
    assert files(tmp_path / "out") == {*EVALUATION, "precision_recall.png"}
    for reader, name in (("true", "a"), ("head -1", "b")):
        done = piped(["train", "--data", shapes, *options, "--output", tmp_path / name], reader)
        assert done.returncode == 0
        assert "Traceback" not in done.stderr
        assert "Broken" not in done.stderr
        assert torch.load(tmp_path / name / "last.pt", weights_only=True)["training"]["step"] == 4


def test_an_output_on_a_full_disk() -> None:
    done = piped(["--help"], "cat > /dev/full")
    assert done.returncode == 0
    full = subprocess.run(
        ["bash", "-c", f"{shlex.quote(sys.executable)} -m paa --help > /dev/full"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    says = "paa: error: standard output cannot be written: No space left on device\n"
    assert (full.returncode, full.stderr) == (2, says)


def test_too_little_shared_memory(tmp_path: Path, shapes: Path, options: list[str], checkpoint: Path) -> None:
    """Also where there is enough for training, but not for the evaluation beside it."""
    evaluate: list[object] = ["eval", checkpoint, "--data", shapes, "--split", "train", "--device", "cpu"]
    train: list[object] = ["train", "--data", shapes, *options, "--workers", 2, "--output", tmp_path / "out"]
    for arguments in (evaluate, [*evaluate, "--batch-size", 2], train):
        command = [sys.executable, "-m", "paa", *map(str, arguments)]
        done = run_with_small_disk(Path("/dev/shm"), "200k", command)
        lines = [line for line in done.stderr.splitlines() if line.startswith("paa: error: ")]
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert len(lines) == 1
        assert "/dev/shm, through which loader workers hand over batches, is too small: 200.0 kB" in lines[0]
        assert "--workers 0" in lines[0]
    assert not (tmp_path / "out").exists()
    done = run_with_small_disk(Path("/dev/shm"), "200k", [sys.executable, "-m", "paa", *map(str, evaluate), *QUIET])
    assert done.returncode == 0, done.stderr


EVALUATION = {"metrics.json", "analysis.json", "results.json", "report.md", "sheet.jpg", "report.html"}
QUIET = ["--workers", "0", "--limit", "2"]


def test_a_training_run_on_a_full_disk(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    size = len(whole_checkpoint(tmp_path / "whole", shapes, options))
    command = [sys.executable, "-m", "paa", "train", "--data", str(shapes), *options, "--output", str(disk / "run")]
    more = ["--checkpoint-interval", "2", "--val-batch-size", "0"]
    # room for one checkpoint, and not for another beside it
    done = run_with_small_disk(disk, f"{int(1.5 * size)}", [*command, *more])
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    says = (
        rf"paa: error: {disk}/run/last\.pt: cannot be written: No space left on device, with [\d.]+ MB free on its disk"
    )
    assert re.fullmatch(rf"{says}; what it held before is unchanged", done.stderr.splitlines()[-1])


def test_a_disk_that_is_full_at_the_start(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    """Whichever of a run's first files does not fit, TensorBoard's included."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [sys.executable, "-m", "paa", "train", "--data", str(shapes), *options, "--output", str(disk / "run")]
    named = set()
    for size in ("4k", "8k", "12k", "16k"):
        done = run_with_small_disk(disk, size, command)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
        found = re.fullmatch(
            rf"paa: error: {disk}/run/([a-z.]+): cannot be written: No space left on device, with .* free on its disk",
            done.stderr.splitlines()[-1],
        )
        assert found is not None, done.stderr
        named.add(found[1])
    assert named >= {"config.json", "tensorboard"}


def test_predictions_on_a_full_disk(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [sys.executable, "-m", "paa", "predict", str(checkpoint), str(shapes), "--output", str(disk / "out")]
    done = run_with_small_disk(disk, "16k", command)
    assert done.returncode == 2
    assert re.fullmatch(
        rf"paa: error: {disk}/out/[\w.]+: cannot be written: No space left on device, with .* free on its disk"
        r"(; what it held before is unchanged)?",
        done.stderr.splitlines()[-1],
    )


def whole_checkpoint(output: Path, shapes: Path, options: list[str]) -> bytes:
    main(["train", "--data", str(shapes), *options, "--output", str(output), "--val-batch-size", "0"])
    return (output / "last.pt").read_bytes()


def test_characters_that_the_terminal_lacks(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    data = shutil.copytree(shapes, tmp_path / "größer 猫")
    image = data / "images" / "000000.jpg"
    odd = Path(os.fsdecode(bytes(tmp_path / "caf") + b"\xe9.jpg"))  # Latin-1, as old archives have it
    shutil.copy(image, odd)
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    more: list[object] = ["--device", "cpu", "--output", tmp_path / "ö"]
    done = piped(["eval", checkpoint, "--data", data, "--workers", 0, *more], "cat", **environment)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert "gr\\xf6\\xdfer \\u732b" in done.stdout
    assert "average precision" in done.stdout
    for encoding in ("ascii", "utf-8"):
        done = piped(["predict", checkpoint, odd, *more], "cat", PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, "")
        assert "caf\\udce9.jpg: " in done.stdout


def test_unknown_command_and_recipe(fails: Fails) -> None:
    known = "train, tune, study, eval, explain, predict, convert, export, serve, weights, demo, completion, data check"
    assert f"unknown command 'fly'; known: {known}" in fails("fly")
    assert "unknown recipe 'r51'; known: auto, r50_1x, " in fails("train", "--data", "x", "--recipe", "r51")


def test_the_fields_that_options_name() -> None:
    given = [
        "--model.norm-eps",
        "0",
        "--model.no-bgr",
        "--no-voting",
        "--schedule.epochs=12",
        "--schedule.warmup-steps=100",
    ]
    command = parse(["train", "--data", "x", *given])
    assert isinstance(command, Train)
    assert command.named == (
        "data", "model.norm_eps", "model.bgr", "voting", "schedule.epochs", "schedule.warmup_steps"
    )  # fmt: skip
    other = parse(
        ["train", "--data", "x", *(word.replace("no-", "no_").replace("p-steps", "p_steps") for word in given)]
    )
    assert isinstance(other, Train)
    assert other.named == command.named


def test_the_schedule_and_options_without_effect_are_logged_at_the_start(
    tmp_path: Path, shapes: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*more: str) -> str:
        capsys.readouterr()
        main(
            [
                "train",
                "--data",
                str(shapes),
                *options,
                "--val-batch-size",
                "0",
                "--output",
                str(tmp_path / "run"),
                *more,
            ]
        )
        return capsys.readouterr().err

    idle = ("--workers", "0", "--worker-timeout", "9")
    said = run("--val-interval", "3", "--schedule.warmup-steps", "0", "--no-voting", "--init-format", "paa", *idle)
    assert "paa: schedule: 4 steps of 2 images (1 epochs), learning rate 0.002, a tenth of it from steps 3 on" in said
    for option, reason in (
        ("validation.interval", "there is no validation"),
        ("validation.voting", "there is no validation"),
        ("init_format", "there is no init"),
        ("runtime.worker_timeout", "there are no loader workers"),
        ("schedule.warmup", "there is no warm-up"),
    ):
        assert f"paa: {option} has no effect: {reason}" in said
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (written["schedule"]["steps"], written["schedule"]["warmup_steps"]) == (4, 0)
    said = run("--resume", "--schedule.steps", "6", "--schedule.warmup-steps", "0", "--schedule.decays", "5")
    assert "paa: the learning rate jumps from 0.0002 to 0.002 at step 4: the run had a schedule of 4 steps" in said


def test_resume_alone_and_no_validation() -> None:
    """`--resume` without a value, and a negative number, which an option parser could misread."""
    command = parse(["train", "--data", "x", "--val-batch-size", "-1", "--resume", "--batch-size", "12"])
    assert isinstance(command, Train)
    assert (command.resume, command.validation.batch_size, command.batch_size) == ("last", -1, 12)
    named = parse(["train", "--data", "x", "--recipe=r101_2x", "--resume", "a.pt"])
    assert isinstance(named, Train)
    assert (named.resume, named.model.backbone) == ("a.pt", "resnet101")


def test_one_annotation_file_is_split_unless_other_validation_data_is_named(
    shapes: Path, tmp_path: Path, options: list[str], fails: Fails
) -> None:
    out = ["--output", tmp_path / "run", *options]
    file = shapes / "train.json"
    assert "name the validation set too" in fails("train", "--data", file, "--val-split", "val", *out)
    main([str(a) for a in ("train", "--data", file, "--val-data", shapes / "val.json", *out)])
    assert (tmp_path / "run" / "best.pt").exists()
    main([str(a) for a in ("train", "--data", file, *out[2:], "--output", tmp_path / "split")])
    assert (tmp_path / "split" / "best.pt").exists()


def test_interrupted(monkeypatch: pytest.MonkeyPatch, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("paa.training.train.train", interrupt)
    with pytest.raises(SystemExit) as caught:
        main(["train", "--data", str(shapes), "--device", "cpu"])
    assert caught.value.code == 130
    assert capsys.readouterr().err == "paa: interrupted; what was written is whole\n"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("--batch-size 0", "batch_size must be at least 1, got 0"),
        ("--batch-size -2", "batch_size must be at least 1, got -2"),
        ("--val-interval -1", "validation.interval must be at least 0, got -1"),
        ("--val-num 0", "validation.limit must be at least 1, got 0"),
        ("--val-num -1", "validation.limit must be at least 1, got -1"),
        ("--workers -1", "workers must be at least 0, got -1"),
        ("--worker-timeout -1", "worker_timeout must be at least 0, got -1"),
        ("--log-interval 0", "log_interval must be at least 1, got 0"),
        ("--checkpoint-interval 0", "checkpoint_interval must be at least 1, got 0"),
        ("--seed -1", "seed must be from 0 to 2^63 - 1, got -1"),
        ("--seed 99999999999999999999", "seed must be from 0"),
        ("--device cuda:99", "device 'cuda:99' does not exist"),
        ("--device banana", "unknown device 'banana': expected cpu, cuda or cuda:N"),
        ("--schedule.steps 0", "schedule.steps must be at least 1, got 0"),
        ("--schedule.steps -3", "schedule.steps must be at least 1, got -3"),
        ("--schedule.epochs 0", "schedule.epochs must be above 0"),
        ("--schedule.epochs nan", "schedule.epochs must be above 0 and below 10^6, got nan"),
        ("--schedule.lr -1", "schedule.lr must be at least 0, got -1"),
        ("--schedule.lr nan", "schedule.lr must be at least 0, got nan"),
        ("--schedule.reference-batch 0", "schedule.reference_batch must be at least 1"),
        ("--schedule.weight-decay -1", "schedule.weight_decay must be at least 0"),
        ("--schedule.warmup-steps -4", "schedule.warmup_steps must be at least 0"),
        ("--schedule.clip-norm 0", "schedule.clip_norm must be above 0"),
        ("--schedule.frozen-stages 9", "schedule.frozen_stages must be from 0 to 5, got 9"),
        ("--model.backbone vgg", "unknown backbone 'vgg'; known: resnet18, "),
        ("--model.dcn-stages 3", "resnet18 has no bottlenecks"),
        ("--model.channels 100", "channels must be a multiple of 8"),
        ("--model.channels -8", "model.channels must be from 1 to 10000, got -8"),
        ("--model.tower-depth -1", "model.tower_depth must be from 0 to 100"),
        ("--model.std 1 0 1", "model.std must be above 0"),
        ("--model.mean nan 0 0", "model.mean must be finite"),
        ("--model.min-size 0", "model.min_size must be from 1 to 10000"),
        ("--model.norm-eps -1", "model.norm_eps must be from 0 to 1"),
        ("--augment.min-sizes", "augment.min_sizes must be one or two numbers, got ()"),
        ("--augment.min-sizes 0", "augment.min_sizes must be at least 1"),
        ("--augment.min-sizes 64 32 80", "augment.min_sizes must be one or two numbers"),
        ("--augment.max-size 0", "augment.max_size must be at least 1"),
        ("--augment.hflip 7", "augment.hflip must be from 0 to 1, got 7"),
        ("--augment.scale-jitter 2 1", "augment.scale_jitter must be above 0, the lower first"),
        ("--augment.color-jitter -1", "augment.color_jitter must be at least 0"),
        ("--init nowhere.pth", "nowhere.pth: no such file"),
        ("--resume nowhere.pt", "nowhere.pt: no such file"),
        ("--train-split foo", "no COCO annotations for 'foo'"),
        ("--val-split foo", "no COCO annotations for 'foo'"),
        ("--format voc", "no VOC annotations"),
    ],
)
def test_invalid_settings_of_training(
    tmp_path: Path,
    shapes: Path,
    options: list[str],
    fails: Fails,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in fails("train", "--data", shapes, *options, "--output", "out", *given.split())
    assert list(tmp_path.iterdir()) == []


def broken(shapes: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Return a copy of the data set whose training annotations were changed."""
    data = shutil.copytree(shapes, folder)
    content = json.loads((data / "train.json").read_text())
    change(content)
    (data / "train.json").write_text(json.dumps(content))
    return data


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["annotations"][4].update(image_id=999), "annotation 5 (image 999) has unknown image 999"),
        (lambda c: c["annotations"][0].update(category_id=77), "annotation 1 (image 1) has unknown category 77"),
        (lambda c: c["annotations"][0].update(bbox=[1, 1, -3, 5]), "annotation 1 (image 1) has width -3"),
        (lambda c: c["annotations"][0].update(bbox=[1, float("nan"), 3, 5]), "has y nan"),
        (lambda c: c["annotations"][0].pop("bbox"), "annotation 1 (image 1) has no bbox"),
        (lambda c: c["annotations"].clear(), "nothing to train on: no objects"),
        (lambda c: c["images"].clear(), "train.json: no images"),
        (lambda c: c["categories"].clear(), "no classes"),
        (lambda c: c.pop("images"), "train.json: not COCO annotations"),
    ],
)
def test_broken_annotations(
    tmp_path: Path, shapes: Path, options: list[str], fails: Fails, change: Callable[[Any], object], says: str
) -> None:
    data = broken(shapes, tmp_path / "data", change)
    assert says in fails("train", "--data", data, *options, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_broken_data_sets(tmp_path: Path, options: list[str], checkpoint: Path, fails: Fails) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.json").write_text('{"images": [')
    for name, says in (
        ("nowhere", "no such file or folder"),
        ("empty", "no data set: expected COCO"),
        ("broken.json", "broken JSON at line 1"),
    ):
        more = ["--data", tmp_path / name, "--output", tmp_path / "out"]
        for command in (["train", *options], ["eval", checkpoint]):
            said = fails(*command, *more)
            assert name in said
            assert says in said
        assert not (tmp_path / "out").exists()


def test_skip_bad(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    data = broken(shapes, tmp_path / "data", lambda c: c["annotations"][0].update(bbox=[1, 1, -3, 5]))
    more = ["--skip-bad", "--schedule.steps", "1", "--val-batch-size", "0"]
    main(["train", "--data", str(data), *options, *more, "--output", str(tmp_path / "out")])
    assert len(read_log(tmp_path / "out")) == 1
    (line,) = (tmp_path / "out" / "left_out.txt").read_text().splitlines()
    assert line.startswith("train: ")
    assert "width -3" in line


def test_what_an_evaluation_left_out(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    data = broken(shapes, tmp_path / "data", lambda c: c["annotations"][0].update(bbox=[1, 1, -3, 5]))
    shared = ["eval", str(checkpoint), "--split", "train", "--device", "cpu", "--output", str(tmp_path / "out")]
    main([*shared, "--data", str(data), "--skip-bad"])
    (line,) = (tmp_path / "out" / "left_out.txt").read_text().splitlines()
    assert line.startswith("train: ")
    assert "width -3" in line
    main([*shared, "--data", str(shapes), "--skip-bad"])
    assert not (tmp_path / "out" / "left_out.txt").exists()


def test_the_files_of_an_evaluation_come_before_its_tables(
    tmp_path: Path, shapes: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails
) -> None:
    """And the tables are printed even if the files cannot be written."""
    written: list[set[str]] = []
    real = paa.report.tables.rich_table

    def spy(*given: Any) -> Any:
        written.append(files(tmp_path / "out") if (tmp_path / "out").exists() else set())
        return real(*given)

    monkeypatch.setattr(paa.report.tables, "rich_table", spy)
    arguments = ["eval", checkpoint, "--data", shapes, "--device", "cpu", "--workers", 0, "--output", tmp_path / "out"]
    main([str(argument) for argument in arguments])
    assert written == [{*EVALUATION, "precision_recall.png"}] * 3

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    shutil.rmtree(tmp_path / "out")
    assert "metrics.json: cannot be written: No space left on device" in fails(*arguments)
    assert written[3:] == [set()] * 3


def test_unreadable_images(tmp_path: Path, shapes: Path, options: list[str], checkpoint: Path, fails: Fails) -> None:
    data = shutil.copytree(shapes, tmp_path / "data")
    for entry in json.loads((data / "train.json").read_text())["images"]:
        (data / "images" / entry["file_name"]).write_bytes(b"\xff\xd8 no more")
    assert ".jpg: not an image" in fails("train", "--data", data, *options, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    more = ["--data", data, "--split", "train", "--device", "cpu", "--output", tmp_path / "out"]
    assert ".jpg: not an image" in fails("eval", checkpoint, *more)
    whole = (data / "images" / "000001.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    assert "cut.jpg: cannot be read: " in fails(
        "predict", checkpoint, tmp_path / "cut.jpg", "--output", tmp_path / "out"
    )
    for path in (data / "images").iterdir():
        path.write_bytes(b"\xff\xd8 no more")
    says = "none of the 10 images can be read; the first: "
    assert says in fails("predict", checkpoint, data / "images", "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_checkpoints(tmp_path: Path, shapes: Path, checkpoint: Path, fails: Fails) -> None:
    class Thing:
        pass

    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "nothing.pth").write_bytes(b"")
    (tmp_path / "cut.pth").write_bytes(checkpoint.read_bytes()[:30_000])
    (tmp_path / "folder.pth").mkdir()
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"a": torch.ones(2)}, tmp_path / "other.pth")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "code.pth")
    content = torch.load(checkpoint, weights_only=True)
    content["model"].pop("fpn.p6.weight")
    torch.save(content, tmp_path / "part.pth")
    for name, says in (
        ("text.pth", "a text, not a checkpoint"),
        ("nothing.pth", "an empty file"),
        ("cut.pth", "damaged"),
        ("folder.pth", "a folder, not a file"),
        ("gone.pth", "no such file"),
        ("list.pth", "holds a list, not a checkpoint"),
        ("other.pth", "in none of the known formats"),
        ("code.pth", "would run code (torch.nn.modules.linear.Linear); it was not read"),
        ("part.pth", "1 missing (fpn.p6.weight)"),
    ):
        for command in (["predict", tmp_path / name, shapes / "images"], ["eval", tmp_path / name, "--data", shapes]):
            said = fails(*command, "--output", tmp_path / "out")
            assert name in said
            assert says in said
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_other_classes(
    tmp_path: Path, shapes: Path, options: list[str], checkpoint: Path, fails: Fails
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "names": ["circle", "square", "triangle", "moon"]}, tmp_path / "moon.pt")
    said = fails("eval", tmp_path / "moon.pt", "--data", shapes, "--output", tmp_path / "out")
    assert "class 'star' is unknown to the model, which knows circle, square, triangle, moon" in said
    assert not (tmp_path / "out").exists()


def test_starting_from_a_checkpoint_of_other_classes(
    tmp_path: Path, shapes: Path, options: list[str], checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = broken(shapes, tmp_path / "data", lambda c: c["categories"].append({"id": 9, "name": "moon"}))
    more = ["--init", checkpoint, "--val-batch-size", 0, "--output", tmp_path / "out"]
    main([str(word) for word in ["train", "--data", data, *options, *more]])
    said = capsys.readouterr().err
    assert f"paa: the whole detector starts from {checkpoint}\n" in said
    assert "except 1 of 5 classes" in said
    assert "start fresh: moon\n" in said


def test_resuming_another_run(trained: Path, shapes: Path, options: list[str], checkpoint: Path, fails: Fails) -> None:
    before = {name: (trained / name).read_bytes() for name in ("last.pt", "log.jsonl", "config.json")}
    start = ["train", "--data", shapes, *options, "--output", trained]
    assert "exists and is not empty; give another --output, or --resume" in fails(*start)
    assert "channels 16, not 32" in fails(*start, "--resume", "--model.channels", 32)
    assert "optimizer sgd, not adamw" in fails(*start, "--resume", "--schedule.optimizer", "adamw")
    assert "no training checkpoint" in fails(*start, "--resume", checkpoint)
    assert {name: (trained / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("--batch-size 0", "batch size of an evaluation must be at least 1, got 0"),
        ("--batch-size -1", "batch size of an evaluation must be at least 1, got -1"),
        ("--limit 0", "--limit must be at least 1, got 0"),
        ("--limit -4", "--limit must be at least 1, got -4"),
        ("--workers -1", "number of workers of an evaluation must be at least 0, got -1"),
        ("--split foo", "no COCO annotations for 'foo'"),
        ("--device cuda:99", "does not exist"),
    ],
)
def test_invalid_settings_of_evaluation(
    tmp_path: Path, shapes: Path, checkpoint: Path, fails: Fails, given: str, says: str
) -> None:
    more = ["--device", "cpu", *given.split(), "--output", tmp_path / "out"]
    assert says in fails("eval", checkpoint, "--data", shapes, *more)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "no images given: name files, folders, URLs of images or camera:0"),
        ("nowhere", "nowhere: no such file or folder"),
        ("empty", "empty: no images or videos in this folder"),
        ("notes.txt", "notes.txt: a text, not an image"),
        ("notes.txt --skip-bad", "notes.txt: a text, not an image"),
        ("a.png nowhere.png", "nowhere.png: no such file or folder"),
        ("s3://bucket/a.jpg", "s3://bucket/a.jpg: a URL, not a path: download it first"),
        ("http://127.0.0.1:1/a.jpg", "http://127.0.0.1:1/a.jpg: Connection refused"),
        ("a.png --every 0", "--every must be at least 1, got 0"),
        ("a.png --url.timeout 0", "the most seconds of an image from a URL must be above 0, got 0"),
        ("0", "0: no such file or folder; a camera is camera:0"),
        ("camera:987", "camera:987: there is no /dev/video987; "),
        ("a.png --max-pixels 0", "--max-pixels must be at least 1, got 0"),
        ("a.png --max-pixels 1599", "a.png: has 1,600 pixels (40 x 40), more than the limit of 1,599"),
        ("a.png --threshold 1.5", "threshold must be from 0 to 1, got 1.5"),
        ("a.png --threshold -0.1", "threshold must be from 0 to 1, got -0.1"),
        ("a.png --threshold nan", "threshold must be from 0 to 1, got nan"),
        ("a.png --batch-size 0", "the batch size must be at least 1, got 0"),
        ("a.png --device banana", "unknown device 'banana'"),
        ("same --output same", "a.jpg: would be overwritten by its drawing; give another --output"),
    ],
)
def test_invalid_arguments_of_predict(
    tmp_path: Path, checkpoint: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch, given: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAA_MAX_PIXELS", "")  # so that it is restored after the test
    (tmp_path / "empty").mkdir()
    (tmp_path / "same").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save("a.png")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save("same/a.jpg")
    before = files(tmp_path)
    assert says in fails("predict", checkpoint, "--device", "cpu", *given.split())
    assert files(tmp_path) == before
    assert not (tmp_path / "predictions").exists()


def test_outputs_that_cannot_be_written(
    tmp_path: Path, shapes: Path, options: list[str], checkpoint: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    commands = (
        ["train", "--data", shapes, *options],
        ["eval", checkpoint, "--data", shapes, "--device", "cpu", "--workers", 0],
        ["predict", checkpoint, shapes / "images", "--device", "cpu"],
    )
    for command in commands:
        for output in (tmp_path / "file", tmp_path / "file" / "deep"):
            assert "file is not a writable folder" in fails(*command, "--output", output)
    assert (tmp_path / "file").read_text() == "mine"

    def full(self: Path, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "mkdir", full)
    for command in commands:
        assert "No space left on device" in fails(*command, "--output", tmp_path / "out")


def test_invalid_settings_of_the_demo(tmp_path: Path, fails: Fails) -> None:
    for given in (["--images", "-4"], ["--steps", "-1"]):
        assert "--images and --steps cannot be negative" in fails("demo", "--output", tmp_path / "demo", *given)
    assert "expected at least 2 images" in fails("demo", "--output", tmp_path / "demo", "--images", 1)
    assert not (tmp_path / "demo").exists()
    (tmp_path / "notes").write_text("mine")
    assert "exists and is not empty" in fails("demo", "--output", tmp_path)
    assert "notes" in fails("demo", "--output", tmp_path / "notes")
    assert files(tmp_path) == {"notes"}


def test_a_learning_rate_that_is_too_high(
    tmp_path: Path, shapes: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--schedule.lr", "1e20", "--checkpoint-interval", "1", "--val-batch-size", "0", "--max-bad-steps", "0"]
    with pytest.raises(SystemExit) as caught:
        main(["train", "--data", str(shapes), *options, *more, "--output", str(tmp_path / "out")])
    assert caught.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("paa: error: the loss or gradient of step 2 is not finite")
    assert last.count(".jpg") == 2
    content = torch.load(tmp_path / "out" / "last.pt", weights_only=True)
    assert content["training"]["step"] == 1
    assert all(bool(tensor.isfinite().all()) for tensor in content["model"].values())
    assert "NaN" not in (tmp_path / "out" / "log.jsonl").read_text()


VIEWS: list[str] = [
    *("--views.scales", "48", "96"),
    *("--views.windows", "20", "1000", "0", "40"),
    *("--views.max_size", "200"),
    *("--views.iou", "0.5"),
    "--views.merge",
]


def test_multi_scale_eval(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    shared = ["eval", str(checkpoint), "--data", str(shapes), "--workers", "0", "--device", "cpu"]
    results = []
    for i, more in enumerate(([], ["--multi-scale", *VIEWS, "vote"], ["--multi-scale", *VIEWS, "soft-vote"])):
        main([*shared, *more, "--output", str(tmp_path / str(i))])
        results.append(json.loads((tmp_path / str(i) / "results.json").read_text()))
    plain, vote, soft = results
    assert plain != vote != soft
    # what soft voting adds has a score that no box had
    views = [{found["score"] for found in result} for result in (vote, soft)]
    assert views[1] - views[0]


def test_multi_scale_predict(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    image = shapes / "images" / "000003.jpg"
    shared = ["predict", str(checkpoint), str(image), "--device", "cpu", "--threshold", "0"]
    main([*shared, "--multi-scale", *VIEWS, "vote", "--views.no-mirror", "--output", str(tmp_path / "out")])
    (record,) = json.loads((tmp_path / "out" / "detections.json").read_text())
    views = MultiScaleConfig((48, 96), ((20, 1000), (0, 40)), 200, False, "vote", 0.5)
    found = paa.load(checkpoint, "cpu").predict(image, multi_scale=views)
    assert record["detections"] == found.to_dicts()
    assert len(found) > 5


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("--views.merge vote", "the options --views.* need --multi-scale"),
        ("--no-multi-scale --views.iou 0.5", "the options --views.* need --multi-scale"),
        ("--multi-scale --views.iou 0", "views.iou must be above 0 and at most 1, got 0.0"),
        ("--multi-scale --views.scales 48", "views.windows must be one pair for each of the 1 views.scales"),
        ("--multi-scale --views.max_size 0", "views.max_size must be at least 1, got 0"),
    ],
)
def test_invalid_views(tmp_path: Path, shapes: Path, checkpoint: Path, fails: Fails, given: str, says: str) -> None:
    more = [*given.split(), "--device", "cpu", "--output", tmp_path / "out"]
    assert says in fails("eval", checkpoint, "--data", shapes, "--workers", 0, *more)
    assert says in fails("predict", checkpoint, shapes / "images", *more)
    assert not (tmp_path / "out").exists()


def test_help_on_multi_scale(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("eval", "predict"):
        with pytest.raises(SystemExit):
            main([command, "--help-all"])
        printed = capsys.readouterr().out
        for option in ("--multi-scale", "--views.scales", "--views.windows", "--views.no-mirror", "{vote,soft-vote}"):
            assert option in printed


def test_eval_with_tiles_gives_the_same_numbers_at_any_batch_size(
    tmp_path: Path, shapes: Path, checkpoint: Path
) -> None:
    shared = ["eval", checkpoint, "--data", shapes, "--split", "train", "--workers", 0, "--device", "cpu"]
    found = []
    for i, more in enumerate(
        ([], ["--tiles", 48], ["--tiles", 48, "--batch-size", 3], ["--tiles", 48, "--tiles.overlap", 0.5])
    ):
        main([str(word) for word in (*shared, *more, "--output", tmp_path / str(i))])
        found.append(json.loads((tmp_path / str(i) / "metrics.json").read_text()))
    assert found[1] == found[2]
    results = [(tmp_path / str(i) / "results.json").read_text() for i in (0, 1, 3)]
    assert len(set(results)) == 3


def test_predict_with_tiles(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    image = shapes / "images" / "000003.jpg"
    shared = ["predict", str(checkpoint), str(image), "--device", "cpu", "--threshold", "0"]
    main([*shared, "--tiles", "48", "--tiles.no-whole", "--output", str(tmp_path / "out")])
    (record,) = json.loads((tmp_path / "out" / "detections.json").read_text())
    found = paa.load(checkpoint, "cpu").predict(image, tiles=TilesConfig(48, whole=False))
    assert record["detections"] == found.to_dicts()
    assert len(found) > 5


def test_train_on_tiles(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    shared = ["train", "--data", str(shapes), *options, "--output", str(tmp_path / "run"), "--tiles", "48"]
    main([*shared, "--tiles.empty", "0.1"])
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["recipe"]["augment"]["tiles"] == {"size": 48, "overlap": 0.2, "whole": True, "empty": 0.1}
    assert "augment.tiles" in config["named"]
    assert not {name for name in config["named"] if name.startswith("tiles")}
    assert read_log(tmp_path / "run")[-1]["AP"] is not None


def test_tiles_of_a_recipe_file(tmp_path: Path) -> None:
    recipe = RECIPES["r18_nano"]
    tiles = TrainTilesConfig(48, overlap=0.4, whole=False, empty=0.1)
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(to_dict(replace(recipe, augment=replace(recipe.augment, tiles=tiles)))))
    for given, expected in (
        ("", tiles),
        ("--tiles 64", replace(tiles, size=64)),
        ("--tiles.overlap 0.3", replace(tiles, overlap=0.3)),
        ("--tiles None", None),
    ):
        command = parse(["train", "--data", "x", "--recipe", str(file), *given.split()])
        assert isinstance(command, Train)
        assert command._augment() == replace(recipe.augment, tiles=expected)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("--tiles 31", "tiles.size must be at least 32 pixels, got 31"),
        ("--tiles 64 --tiles.overlap 0.95", "tiles.overlap must be from 0 to 0.9, got 0.95"),
        ("--tiles.overlap 0.3", "the options --tiles.* need --tiles SIZE"),
        ("--tiles 64 --multi-scale", "tiles and multi-scale testing cannot be combined: choose one of them"),
        ("--tiles 64 --tiles.empty -1", "tiles.empty must be at least 0, got -1.0"),
    ],
)
def test_invalid_tiles(
    tmp_path: Path, shapes: Path, checkpoint: Path, options: list[str], fails: Fails, given: str, says: str
) -> None:
    more = [*given.split(), "--device", "cpu", "--output", tmp_path / "out"]
    if "empty" not in given:
        assert says in fails("eval", checkpoint, "--data", shapes, "--workers", 0, *more)
        assert says in fails("predict", checkpoint, shapes / "images", *more)
    if "multi-scale" not in given:
        assert says in fails("train", "--data", shapes, *options, *more)
    assert not (tmp_path / "out").exists()


def test_convert(tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "model.safetensors"
    main(["convert", str(checkpoint), str(output)])
    printed = capsys.readouterr().out.splitlines()
    before, after = paa.load(checkpoint, "cpu"), paa.load(output, "cpu")
    count = len(before.state_dict())
    assert printed == [
        f"{checkpoint}: paa checkpoint, resnet18, 4 classes, {count} tensors",
        f"written to {output}",
    ]
    assert (after.config, after.names) == (before.config, before.names)
    assert all(torch.equal(tensor, after.state_dict()[name]) for name, tensor in before.state_dict().items())
    main(["convert", str(output), str(tmp_path / "named.safetensors"), "--names", "a", "b c", "d", "e"])
    assert paa.load(tmp_path / "named.safetensors", "cpu").names == ("a", "b c", "d", "e")


def test_a_model_that_comes_from_no_file_can_be_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "new.safetensors"
    paa.PAA(ModelConfig(backbone="resnet18", channels=32, tower_depth=1), ("a", "b")).save(source)
    main(["convert", str(source), str(tmp_path / "named.safetensors"), "--names", "c", "d"])
    assert capsys.readouterr().out.startswith(f"{source}: paa model, resnet18, 2 classes, ")
    assert paa.load(tmp_path / "named.safetensors", "cpu").names == ("c", "d")


def test_what_cannot_be_converted(tmp_path: Path, checkpoint: Path, fails: Fails) -> None:
    output, missing = tmp_path / "model.safetensors", tmp_path / "no" / "model.safetensors"
    assert fails("convert", checkpoint, tmp_path / "model.pt").endswith("name it model.safetensors")
    assert fails("convert", checkpoint, missing).endswith(f"there is no folder {tmp_path / 'no'}")
    assert fails("convert", tmp_path / "gone.pt", output) == f"{tmp_path / 'gone.pt'}: no such file"
    assert fails("convert", checkpoint, output, "--names", "a") == f"{checkpoint}: has 4 classes, 1 names are given"
    assert (
        fails("convert", checkpoint, output, "--checkpoint-format", "seed") == f"{checkpoint}: not in the format seed"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_field_that_is_named_is_not_changed_by_a_file(tmp_path: Path, shapes: Path, fails: Fails) -> None:
    """Also where the recipe has the same value."""
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "r34.pth")
    start = ["train", "--recipe", "r18_nano", "--data", shapes, "--init", tmp_path / "r34.pth"]
    start += ["--output", tmp_path / "o"]
    for named in (["--model.backbone", "resnet18"], ["--model.backbone=resnet18"]):
        assert "holds a model with backbone resnet34, not resnet18" in fails(*start, *named)
    assert not (tmp_path / "o").exists()


def test_eval_of_results_gives_the_numbers_of_the_checkpoint(
    tmp_path: Path, shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--data", shapes, "--split", "train", "--workers", 0, "--device", "cpu", "--draws", 20]

    def run(*arguments: object) -> str:
        capsys.readouterr()
        main([str(word) for word in ("eval", *arguments, *more)])
        return capsys.readouterr().out

    first = run(checkpoint, "--output", tmp_path / "first")
    results = tmp_path / "first" / "results.json"
    again = run(results, "--output", tmp_path / "again")
    assert first.replace("first", "again") == again
    for name in ("metrics.json", "results.json"):
        assert (tmp_path / "first" / name).read_text() == (tmp_path / "again" / name).read_text()
    assert files(tmp_path / "again") == {*EVALUATION, "precision_recall.png"}

    everything = json.loads(run(results, "--json"))
    assert everything["metrics"] == json.loads((tmp_path / "first" / "metrics.json").read_text())
    written = json.loads((tmp_path / "again" / "analysis.json").read_text())
    assert {name: value for name, value in everything.items() if name != "metrics"} == written
    assert written["predicted_iou"] is None
    assert json.loads((tmp_path / "first" / "analysis.json").read_text())["predicted_iou"]["images"] == 8
    assert written["what"] == str(results)
    assert len(written["images"]) == 8

    printed = run(results, "--analysis")
    assert printed.startswith(first.splitlines()[0])
    for title in ("95 % interval", "objects by size", "kinds of errors", "points apart", "confusions", "worst images"):
        assert title in printed
        assert title not in first
    assert "8 images of" in first
    assert "3 images of" in run(results, "--limit", 3)


def test_eval_against(
    tmp_path: Path, shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], fails: Fails
) -> None:
    shared = ["eval", str(checkpoint), "--data", str(shapes), "--split", "train", "--workers", "0", "--device", "cpu"]
    main([*shared, "--output", str(tmp_path / "out"), "--draws", "0"])
    assert json.loads((tmp_path / "out" / "analysis.json").read_text())["intervals"] is None
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    fewer = tmp_path / "fewer.json"
    fewer.write_text(json.dumps(results[:1]))
    capsys.readouterr()

    for other in (fewer, checkpoint):
        main([*shared, "--against", str(other), "--draws", "50"])
        printed = capsys.readouterr().out
        assert f"difference from {other}, 95 % interval of 50 draws" in printed
    main([*shared, "--against", str(fewer), "--draws", "50", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["against"] == str(fewer)
    comparison = found["comparison"]
    assert comparison["AR100"]["verdict"] == "better"
    assert comparison["AR100"]["difference"] == comparison["AR100"]["this"] - comparison["AR100"]["other"] > 0
    assert set(comparison["classes"]) == {"circle", "square", "triangle", "star"}

    main(["eval", str(fewer), *shared[2:], "--against", str(checkpoint), "--draws", "50", "--json"])
    turned = json.loads(capsys.readouterr().out)["comparison"]
    assert turned["AR100"]["difference"] == -comparison["AR100"]["difference"]
    assert "--draws must be at least 1 with --against, got 0" in fails(*shared, "--against", fewer, "--draws", 0)
    assert "--draws must be at least 0, got -1" in fails(*shared, "--draws", -1)


def test_eval_against_a_detector_with_other_classes(
    tmp_path: Path, shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], fails: Fails
) -> None:
    """The same classes in another order are the same; one that the other does not know is an error."""
    from paa.model.detector import Detector
    from paa.training.run_folder import save_checkpoint
    from paa.weights.formats import own

    model = paa.load(checkpoint, "cpu")
    state = model.state_dict()
    order = torch.tensor([2, 0, 3, 1])
    for name in ("head.cls_logits.weight", "head.cls_logits.bias"):
        state[name] = state[name][order]
    for path, names in (
        ("turned.pt", tuple(model.names[i] for i in order)),
        ("other.pt", ("circle", "square", "moon", "star")),
    ):
        detector = Detector(model.config, names)
        detector.load_state_dict(state)
        save_checkpoint(tmp_path / path, own.write(detector.config, detector.names, detector.state_dict()))
    shared = ["eval", checkpoint, "--data", shapes, "--split", "train", "--workers", 0, "--device", "cpu", "--draws", 9]
    main([str(word) for word in (*shared, "--json", "--against", tmp_path / "turned.pt")])
    comparison = json.loads(capsys.readouterr().out)["comparison"]
    assert comparison["AP"]["this"] > 0
    assert all(comparison[name]["difference"] == 0 for name in ("AP", "AP50", "AR100"))
    said = fails(*shared, "--against", tmp_path / "other.pt")
    assert "other.pt" in said
    assert "finds 'moon', which" in said


def test_eval_of_bad_results(tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str], fails: Fails) -> None:
    path = tmp_path / "results.json"
    good = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
    path.write_text(json.dumps([good, {**good, "image_id": 99}]))
    shared = ["eval", path, "--data", shapes, "--split", "train"]
    said = fails(*shared, "--output", tmp_path / "out")
    assert "result 2: image_id 99 is no image of this split" in said
    assert not (tmp_path / "out").exists()
    main([str(word) for word in (*shared, "--output", tmp_path / "out", "--skip-bad", "--draws", 5)])
    assert "left out 1:" in capsys.readouterr().err
    assert "image_id 99" in (tmp_path / "out" / "left_out.txt").read_text()
    assert "nowhere.json: no such file of results" in fails("eval", "nowhere.json", "--data", shapes)
