"""Training and evaluation by two processes: the result of one, reported once."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import paa
from paa.commands.main import main
from paa.config import ModelConfig
from paa.data import datasets
from paa.data.shapes import NAMES
from paa.errors import ImageError, RunError
from paa.model.detector import Detector
from paa.predictor import load
from paa.runtime.distributed import Process
from paa.runtime.folder_lock import folder_lock
from paa.training import parallel, setup
from paa.training import train as engine
from paa.training.records import Record
from paa.training.run import Run
from paa.training.run_folder import save_checkpoint
from paa.weights.formats import own
from tests.processes import in_two_processes
from tests.training.runs import differences
from tests.training.runs import load as load_checkpoint


def read_log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def run_two(folder: Path, *arguments: object) -> str:
    """Run a command of paa in two processes that must succeed, and return the standard output of both."""
    ended = in_two_processes(folder, main, [str(argument) for argument in arguments])
    for done in ended:
        assert done.code == 0, done.stderr
    return "".join(done.stdout for done in ended)


def test_torchrun_trains_as_one_process(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    """Holds for frozen batch norm; trained batch norm takes the statistics of its own process's half of a batch."""

    def arguments(output: str) -> list[str]:
        more = ["--batch-size", 4, "--schedule.reference-batch", 4, "--schedule.frozen-stages", 2]
        more += ["--schedule.ema", 0.2, "--val-batch-size", 1, "--output", tmp_path / output]
        return [str(word) for word in ("train", "--data", shapes, *options, *more)]

    main(arguments("one"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "paa"]
    done = subprocess.run([*torchrun, *arguments("two")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("checkpoints: ") == 1

    one, two = read_log(tmp_path / "one"), read_log(tmp_path / "two")
    assert [record["step"] for record in one] == [record["step"] for record in two]
    trained = [(a, b) for a, b in zip(one, two) if "loss" in a]
    assert len(trained) == 4
    for name in ("loss", "loss_classification", "loss_box", "loss_iou"):
        assert trained[0][1][name] == pytest.approx(trained[0][0][name], rel=1e-5)
        assert trained[-1][1][name] == pytest.approx(trained[-1][0][name], rel=1e-3)
    for a, b in trained:
        assert b["positives"] == a["positives"] / 2  # the mean over the processes, by which each of them divides
        assert b["lr"] == a["lr"]
    for a, b in zip(one, two):
        if "AP" in a:
            assert b["AP"] == pytest.approx(a["AP"], abs=1e-3)

    contents = [torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("one", "two")]
    for ours, theirs in (
        [content["model"] for content in contents],
        [content["training"]["weights"] for content in contents],
    ):
        assert list(ours) == list(theirs)
        for name, tensor in ours.items():
            torch.testing.assert_close(theirs[name], tensor, rtol=1e-3, atol=1e-5, msg=name)
    assert json.loads((tmp_path / "two" / "config.json").read_text())["processes"] == 2


def test_two_processes_with_parts_train_as_one_without(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    more = ["--batch-size", 4, "--schedule.reference-batch", 4, "--schedule.frozen-stages", 2, "--val-batch-size", 0]
    command = [str(word) for word in ("train", "--data", shapes, *options, *more, "--output")]
    main([*command, str(tmp_path / "one")])
    run_two(tmp_path, *command, tmp_path / "two", "--accumulate", 2)
    one, two = (load_checkpoint(tmp_path / name / "last.pt")["model"] for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


def test_a_batch_that_does_not_divide(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    """One of three images in the first process, two in the second."""
    more = ["--batch-size", 3, "--schedule.reference-batch", 3, "--schedule.frozen-stages", 2, "--val-batch-size", 0]
    command = [str(word) for word in ("train", "--data", shapes, *options, *more, "--output")]
    main([*command, str(tmp_path / "one")])
    run_two(tmp_path, *command, tmp_path / "two")
    one, two = read_log(tmp_path / "one"), read_log(tmp_path / "two")
    assert len(one) == 4
    for name in ("loss", "loss_classification", "loss_box", "loss_iou", "lr"):
        assert [record[name] for record in two] == pytest.approx([record[name] for record in one], rel=1e-5)


def train_to_bad_steps(data: Path, output: Path) -> None:
    """Train a run that has a loss of NaN in the second process, in two steps of which one may be skipped."""
    real, calls = setup.paa_losses, iter(range(100))

    def losses(*given: Any, **options: Any) -> Any:
        result = real(*given, **options)
        if next(calls) in (1, 2) and os.environ["RANK"] == "1":
            result.losses["box"] = result.losses["box"] * math.nan
        return result

    setup.paa_losses = losses
    with pytest.raises(RunError) as caught:
        paa.train(
            data,
            "r18_nano",
            output=output / "run",
            batch_size=4,
            steps=5,
            device="cpu",
            model={"norm": "frozen", "channels": 16, "tower_depth": 1, "min_size": 64, "max_size": 96},
            augment={"min_sizes": [64], "max_size": 96},
            validation={"batch_size": 0},
            runtime={"workers": 0, "log_interval": 1, "max_bad_steps": 1},
        )
    (output / f"{os.environ['RANK']}.json").write_text(json.dumps(str(caught.value)))


def test_two_processes_skip_the_same_steps_and_stop_together(tmp_path: Path, shapes: Path) -> None:
    for done in in_two_processes(tmp_path, train_to_bad_steps, shapes, tmp_path):
        assert done.code == 0, done.stderr
    folder = tmp_path / "run" / "bad_steps"
    assert {path.name for path in folder.iterdir()} == {
        f"step_{step}{end}" for step in (2, 3) for end in (".json", "_0.pt", "_1.pt")
    }
    names = [Path(image).name for image in json.loads((folder / "step_3.json").read_text())["images"]]
    assert len(set(names)) == 4
    for rank in range(2):
        says = json.loads((tmp_path / f"{rank}.json").read_text())
        assert says.startswith("the loss or gradient of step 3 is not finite (classification ")
        assert f"; its images: {', '.join(names)}, after 1 step that had to be skipped" in says
    records = read_log(tmp_path / "run")
    assert [(record["step"], record["bad_steps"]) for record in records] == [(1, 0), (2, 1)]
    assert records[1]["gradient_norm"] is None


def main_with_bad_images(names: list[str], arguments: list[str]) -> None:
    """Run a command in which each process meets one image that cannot be read."""
    read, rank = datasets.read_image, int(os.environ["RANK"])

    def read_image(path: Path, size: tuple[int, int]) -> Any:
        if path.name == names[rank]:
            raise ImageError(f"{path.name} of process {rank}")
        return read(path, size)

    datasets.read_image = read_image
    main(arguments)


def test_two_processes_report_once(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    """Also images left out by only one of them; and one of them holds the run's lock."""
    data = shutil.copytree(shapes, tmp_path / "data")
    content = json.loads((data / "train.json").read_text())
    content["annotations"][0]["bbox"] = [1, 1, -3, 5]
    (data / "train.json").write_text(json.dumps(content))
    names = [image["file_name"] for image in content["images"][:2]]
    more = ["--batch-size", 4, "--skip-bad", "--schedule.steps", 24, "--val-batch-size", 0]
    command = [str(word) for word in ("train", "--data", data, *options, *more, "--output", tmp_path / "run")]
    ended = in_two_processes(tmp_path, main_with_bad_images, names, command)
    for done in ended:
        assert done.code == 0, done.stderr
    said = "".join(done.stderr for done in ended).splitlines()
    assert sum("train: COCO" in line for line in said) == 1
    assert sum("train: left out 1:" in line for line in said) == 1
    assert sum("train, while training: left out 2:" in line for line in said) == 1
    lines = (tmp_path / "run" / "left_out.txt").read_text().splitlines()
    assert "width -3" in lines[0]
    assert sorted(lines[1:]) == [f"train: {name} of process {rank}" for rank, name in enumerate(names)]
    assert not (tmp_path / "run" / "lock").exists()
    with folder_lock(tmp_path / "run"):
        first, _ = in_two_processes(tmp_path, main, [*command, "--resume"])
    assert first.code == 2
    assert f"paa: error: {tmp_path / 'run'}: process {os.getpid()} on " in first.stderr


def main_with_an_image_that_gets_bad(arguments: list[str]) -> None:
    """Run a command in which the second process cannot read its images from the fourth step on."""
    read, calls = datasets.read_image, iter(range(100))

    def read_image(path: Path, size: tuple[int, int]) -> Any:
        if os.environ["RANK"] == "1" and next(calls) >= 6:
            raise ImageError(f"{path.name} is bad")
        return read(path, size)

    datasets.read_image = read_image
    try:
        main(arguments)
    except SystemExit as stop:
        print("code", stop.code)


def test_two_processes_save_when_one_cannot_load_its_images(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    more = ["--batch-size", 4, "--val-batch-size", 0, "--schedule.steps", 8, "--output", tmp_path / "run"]
    command = [str(word) for word in ("train", "--data", shapes, *options, *more)]
    ended = in_two_processes(tmp_path, main_with_an_image_that_gets_bad, command)
    assert [done.stdout.splitlines()[-1] for done in ended] == ["code 2", "code 2"]
    assert load_checkpoint(tmp_path / "run" / "last.pt")["training"]["step"] == 3
    for done in ended:
        assert re.fullmatch(
            r"paa: error: \d+\.jpg is bad; .* \(training step 4; .*last\.pt holds the 3 before, --resume goes on\)",
            done.stderr.splitlines()[-1],
        )
    assert not (tmp_path / "run" / "lock").exists()


def test_two_processes_validate_what_they_save(
    tmp_path: Path, shapes: Path, options: list[str], checkpoint: Path
) -> None:
    """Each process's batch norm has statistics of its own; all evaluate with those that the checkpoint gets."""
    torch.manual_seed(0)
    detector = Detector(replace(load(checkpoint, "cpu").config, norm="batch"), NAMES)
    torch.nn.init.normal_(detector.head.cls_logits.weight, std=0.3)
    torch.nn.init.constant_(detector.head.cls_logits.bias, -1)
    start = tmp_path / "start.pt"
    save_checkpoint(start, own.write(detector.config, detector.names, detector.state_dict()))
    more = ["--model.norm", "batch", "--schedule.lr", 0, "--schedule.weight-decay", 0, "--schedule.decays"]
    more += ["--init", start, "--val-split", "train", "--val-batch-size", 1, "--val-interval", 4, "--batch-size", 4]
    run, out = tmp_path / "run", tmp_path / "out"
    run_two(tmp_path, "train", "--data", shapes, *options, *more, "--output", run)
    record = read_log(run)[-1]
    shared = ["--data", str(shapes), "--split", "train", "--batch-size", "1", "--workers", "0", "--device", "cpu"]
    main(["eval", str(run / "last.pt"), *shared, "--output", str(out)])
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["AP50"] > 0
    for name in ("AP", "AP50", "AR10", "AR100"):
        assert record[name] == pytest.approx(metrics[name], abs=1e-9)


def main_saving_what_is_evaluated(output: Path, arguments: list[str]) -> None:
    """Run a command that writes the evaluated weights of each process to a file instead of evaluating them."""

    def evaluate_weights(run: Run) -> dict[str, float]:
        torch.save(run.state.evaluated.state_dict(), output / f"{run.process.rank}.pt")
        return {"AP": 0.5, "AP50": 0.5}

    engine.evaluate_weights = evaluate_weights
    main(arguments)


@pytest.mark.parametrize("ema", [(), ("--schedule.ema", 0.9)])
def test_two_processes_evaluate_the_same_weights(
    tmp_path: Path, shapes: Path, options: list[str], ema: tuple[object, ...]
) -> None:
    """The weights that are saved, though each process has batch norm statistics of its own images."""
    more = ["--model.norm", "batch", "--schedule.frozen-stages", 0, *ema, "--output", tmp_path / "run"]
    command = [str(word) for word in ("train", "--data", shapes, *options, *more)]
    for done in in_two_processes(tmp_path, main_saving_what_is_evaluated, tmp_path, command):
        assert done.code == 0, done.stderr
    saved = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert ("weights" in saved["training"]) == bool(ema)
    for rank in range(2):
        evaluated = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert [name for name, tensor in saved["model"].items() if not torch.equal(tensor, evaluated[name])] == []


@pytest.mark.parametrize(
    ("model", "batch_norms", "synchronised"),
    [
        ({"norm": "frozen"}, 0, 0),
        ({"norm": "affine"}, 20, 0),
        ({"norm": "batch"}, 0, 20),
        ({"norm": "batch", "backbone": "timm/regnetx_002"}, 0, 44),
    ],
)
def test_trained_batch_norm_is_synchronised_on_gpus(
    monkeypatch: pytest.MonkeyPatch, model: dict[str, Any], batch_norms: int, synchronised: int
) -> None:
    """And the activations stay that some of timm's norms have inside."""
    wrapped: list[dict[str, Any]] = []
    monkeypatch.setattr(
        parallel, "DistributedDataParallel", lambda detector, **options: wrapped.append(options) or detector
    )
    config = ModelConfig(**{"backbone": "resnet18", "channels": 8, "tower_depth": 0, **model})
    detector = Detector(config, ("a",)).eval()
    images, sizes = torch.randint(256, (1, 3, 64, 64), dtype=torch.uint8), torch.tensor([[64, 64]])
    with torch.inference_mode():
        before = detector(images, sizes)
        parallel.parallel(detector, Process(torch.device("cuda", 0), 0, 2))
        assert [value for name, value in wrapped[0].items() if "buffers" in name] == [False]
        # batch norm that is synchronised is not part of the convolutions, and rounded otherwise
        torch.testing.assert_close(detector(images, sizes).cls_logits, before.cls_logits)
    kinds = [type(module) for module in detector.backbone.modules()]
    assert sum(issubclass(kind, torch.nn.SyncBatchNorm) for kind in kinds) == synchronised
    assert sum(issubclass(kind, torch.nn.BatchNorm2d) for kind in kinds) == batch_norms


def test_two_processes_evaluate_as_one(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    def arguments(output: str) -> list[str]:
        more = ["--split", "train", "--limit", "7", "--batch-size", "1", "--workers", "0", "--device", "cpu"]
        return ["eval", str(checkpoint), "--data", str(shapes), *more, "--output", str(tmp_path / output)]

    main(arguments("one"))
    assert run_two(tmp_path, *arguments("two")).count("written to") == 1
    one, two = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    assert len(one) > 100
    key = json.dumps
    assert sorted(one, key=key) == sorted(two, key=key)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    assert metrics[0]["AP50"] > 0
    assert metrics[0] == metrics[1]


def train_stop_and_resume(data: Path, output: Path) -> None:
    """Train in one program a run that is never stopped, one that its listener stops, and that again to its end."""
    options: dict[str, Any] = {
        "batch_size": 4,
        "device": "cpu",
        "model": {"norm": "frozen", "channels": 16, "tower_depth": 1, "min_size": 64, "max_size": 96},
        "augment": {"min_sizes": [64], "max_size": 96},
        "schedule": {"steps": 3, "ema": 0.5, "optimizer": "sgd"},
        "validation": {"batch_size": 1, "interval": 3},
        "runtime": {"workers": 0, "log_interval": 1},
    }

    def stop(record: Record) -> str | None:
        assert os.environ["RANK"] == "0"
        return paa.STOP if record["step"] == 2 else None

    whole = paa.train(data, "r18_nano", output=output / "whole", **options)
    stopped = paa.train(data, "r18_nano", output=output / "run", listener=stop, **options)
    resumed = paa.train(data, "r18_nano", output=output / "run", resume="last", **options)
    numbers = [(r.step, r.stopped, r.best is not None, r.training, r.validation) for r in (whole, stopped, resumed)]
    (output / f"{os.environ['RANK']}.json").write_text(json.dumps(numbers))


def test_a_listener_stops_both(tmp_path: Path, shapes: Path) -> None:
    """It is called in the first process only; both know the last numbers, and resume to the run never stopped."""
    for done in in_two_processes(tmp_path, train_stop_and_resume, shapes, tmp_path):
        assert done.code == 0, done.stderr
    one, two = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert one == two
    whole, stopped, resumed = one
    assert [numbers[:3] for numbers in one] == [[3, False, True], [2, True, False], [3, False, True]]
    assert (stopped[3]["step"], stopped[4]) == (2, None)
    assert (resumed[3]["loss"], resumed[4]["AP50"]) == (whole[3]["loss"], whole[4]["AP50"])
    checkpoints = [load_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "run")]
    assert differences(*checkpoints) == []


def main_without_progress(arguments: list[str]) -> None:
    """Run a command whose validations all find the same AP, which the first process alone knows."""
    engine.evaluate_weights = lambda run: {"AP": 0.5, "AP50": 0.5} if run.process.first else {}
    main(arguments)


def test_two_processes_are_out_of_patience_together(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    more = ["--batch-size", 2, "--schedule.steps", 9, "--val-batch-size", 1, "--val-interval", 1, "--patience", 2]
    command = [str(word) for word in ("train", "--data", shapes, *options, *more, "--output", tmp_path / "run")]
    ended = in_two_processes(tmp_path, main_without_progress, command)
    for done in ended:
        assert done.code == 0, done.stderr
    assert [record["step"] for record in read_log(tmp_path / "run")] == [1, 1, 2, 2, 3, 3]
    assert sum("stopped at step 3 of 9" in done.stderr for done in ended) == 1


def main_counting_graphs(output: Path, arguments: list[str]) -> None:
    """Run a command with torch.compile stopping before it makes code, and write how many graphs were traced."""
    import torch._dynamo.utils

    torch._dynamo.config.recompile_limit = 4
    compile_ = torch.compile
    torch.compile = lambda function, **options: compile_(function, **{**options, "backend": "eager", "mode": None})
    main(arguments)
    counters = torch._dynamo.utils.counters
    said = {"graphs": counters["stats"]["unique_graphs"], "breaks": list(counters["graph_break"])}
    (output / f"{os.environ['RANK']}.json").write_text(json.dumps(said))


def test_compiled_for_images_of_many_sizes(tmp_path: Path, options: list[str]) -> None:
    """Four steps, each of another image size, do not make two processes trace four times."""
    data, random = tmp_path / "data", np.random.default_rng(0)
    (data / "images").mkdir(parents=True)
    images, boxes = [], []
    for number in range(1, 5):
        for copy in range(2):
            name, width = f"{number}-{copy}.png", 160 + 32 * number
            Image.fromarray(random.integers(0, 256, (160, width, 3), dtype=np.uint8)).save(data / "images" / name)
            images.append({"id": 2 * number + copy, "file_name": name, "height": 160, "width": width})
            boxes.append({"id": len(images), "image_id": images[-1]["id"], "category_id": 1, "bbox": [20, 20, 90, 99]})
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "noise"}]}
    (data / "train.json").write_text(json.dumps(content))
    more = ["--batch-size", 2, "--schedule.steps", 4, "--val-batch-size", 0, "--augment.min-sizes", 160]
    more += ["--augment.max-size", 999, "--workers", 0, "--output"]
    command = [str(word) for word in ("train", "--data", data, *options, *more)]

    run_two(tmp_path, *command, tmp_path / "eager")
    compiled = [*command, str(tmp_path / "compiled"), "--compile", "default"]
    for done in in_two_processes(tmp_path, main_counting_graphs, tmp_path, compiled):
        assert done.code == 0, done.stderr
    losses = [[record["loss"] for record in read_log(tmp_path / name)] for name in ("eager", "compiled")]
    assert len(losses[0]) == 4
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    for rank in (0, 1):
        said = json.loads((tmp_path / f"{rank}.json").read_text())
        assert said["breaks"] == []
        assert 2 <= said["graphs"] <= 6  # of network and losses: the first size's, and those of all others
