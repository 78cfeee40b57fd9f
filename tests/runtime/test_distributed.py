from __future__ import annotations

import json
import math
import os
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

from paa.commands.main import main
from paa.config import ModelConfig
from paa.data.shapes import NAMES
from paa.errors import RunError
from paa.model.detector import Detector
from paa.predictor import load
from paa.runtime.distributed import Process, pick_device, start
from paa.training import parallel as module
from paa.training.parallel import parallel
from paa.training.run_folder import save_checkpoint
from paa.training.run_lock import run_lock
from paa.weights.formats import own

PARTS = """
import json, math, sys
from pathlib import Path
import torch
from paa.data.read import read_dataset
from paa.runtime.distributed import start
from paa.training.finite import FiniteCheck
from paa.data.loader import eval_loader
from paa.errors import RunError

with start("cpu") as process:
    said = {"first": process.first, "world": process.world}
    values = torch.tensor([1.0, 10.0]) * (process.rank + 1)
    values.requires_grad_()
    mean = process.mean(values)
    said["mean"], said["graph"], said["values"] = mean.tolist(), mean.requires_grad, values.tolist()
    said["gathered"] = process.gather({"rank": process.rank})
    tensors = [torch.full((2,), float(process.rank + 5)), torch.tensor(process.rank)]
    process.copy_from_first(tensors)
    said["copied"] = [tensor.tolist() for tensor in tensors]
    index = read_dataset(Path(sys.argv[1]), "train")
    batch = next(iter(eval_loader(index, min_size=64, max_size=96, rank=process.rank, world=process.world, workers=0)))
    check = FiniteCheck(index, process)
    check.add(7, {"box": torch.tensor(math.nan if process.rank else 1.0)}, batch.positions)
    try:
        check.now()
    except RunError as error:
        said["stopped"] = str(error)
    said["image"] = index.path(int(batch.positions[0])).name
    Path(sys.argv[2], f"{process.rank}.json").write_text(json.dumps(said))
"""

BAD_IMAGES = """
import os, sys
from paa.commands.main import main
from paa.data import loader
from paa.errors import ImageError

read, rank = loader.read_image, int(os.environ["RANK"])

def read_image(path, size):
    if path.name == sys.argv[1 + rank]:  # each process meets another
        raise ImageError(f"{path.name} of process {rank}")
    return read(path, size)

loader.read_image = read_image
main(sys.argv[3:])
"""

EVALUATED = """
import sys
import torch
from paa.commands.main import main
from paa.training import train as engine

def evaluate_weights(run):
    torch.save(run.state.evaluated.state_dict(), f"{sys.argv[1]}/{run.process.rank}.pt")
    return {"AP": 0.5, "AP50": 0.5}

engine.evaluate_weights = evaluate_weights
main(sys.argv[2:])
"""


COMPILED = """
import json, os, sys
import torch
from pathlib import Path
from torch._dynamo.utils import counters
from paa.commands.main import main

torch._dynamo.config.recompile_limit = 4
compile_ = torch.compile
torch.compile = lambda function, **options: compile_(function, **{**options, "backend": "eager", "mode": None})
main(sys.argv[2:])
said = {"graphs": counters["stats"]["unique_graphs"], "breaks": list(counters["graph_break"])}
Path(sys.argv[1], os.environ["RANK"] + ".json").write_text(json.dumps(said))
"""


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launch, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip


def read_log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_two_processes_talk(tmp_path: Path, shapes: Path) -> None:
    (tmp_path / "parts.py").write_text(PARTS)
    done = torchrun(tmp_path / "parts.py", shapes, tmp_path)
    assert done.returncode == 0, done.stderr
    said = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert [s["first"] for s in said] == [True, False]
    for rank, s in enumerate(said):
        assert s["world"] == 2
        assert s["mean"] == [1.5, 15.0]
        assert s["graph"] is False
        assert s["values"] == [1.0 + rank, 10.0 * (1 + rank)]
        assert s["gathered"] == [{"rank": 0}, {"rank": 1}]
        assert s["copied"] == [[5.0, 5.0], 0]
        # one process's loss stops both, and the message names the images of both
        assert "the loss of step 7 is not finite" in s["stopped"]
        assert f"{said[0]['image']}, {said[1]['image']}" in s["stopped"]
    assert said[0]["image"] != said[1]["image"]


def test_two_processes_train_as_one(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    """Holds for frozen batch norm; trained batch norm takes the statistics of its own process's half of a batch."""

    def arguments(output: str) -> list[object]:
        more = ["--batch-size", 4, "--schedule.reference-batch", 4, "--schedule.frozen-stages", 2]
        more += ["--schedule.ema", 0.2]
        return ["train", "--data", shapes, *options, *more, "--val-batch-size", 1, "--output", tmp_path / output]

    main([str(argument) for argument in arguments("one")])
    done = torchrun("-m", "paa", *arguments("two"))
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


def test_two_processes_report_once(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    """What they read and left out, each in its own share of the images too; and one of them holds the run's lock."""
    data = shutil.copytree(shapes, tmp_path / "data")
    content = json.loads((data / "train.json").read_text())
    content["annotations"][0]["bbox"] = [1, 1, -3, 5]
    (data / "train.json").write_text(json.dumps(content))
    (tmp_path / "bad.py").write_text(BAD_IMAGES)
    names = [image["file_name"] for image in content["images"][:2]]
    command = [tmp_path / "bad.py", *names, "train", "--data", data, *options, "--output", tmp_path / "run"]
    command += ["--batch-size", 4, "--skip-bad", "--schedule.steps", 24, "--val-batch-size", 0]
    done = torchrun(*command)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert sum("train: COCO" in line for line in said) == 1
    assert sum("train: left out 1:" in line for line in said) == 1
    assert sum("train, while training: left out 2:" in line for line in said) == 1
    lines = (tmp_path / "run" / "left_out.txt").read_text().splitlines()
    assert "width -3" in lines[0]
    assert sorted(lines[1:]) == [f"train: {name} of process {rank}" for rank, name in enumerate(names)]
    assert not (tmp_path / "run" / "lock").exists()
    with run_lock(tmp_path / "run"):
        done = torchrun(*command, "--resume")
    assert done.returncode != 0
    assert f"paa: error: {tmp_path / 'run'}: process {os.getpid()} on " in done.stderr


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
    done = torchrun("-m", "paa", "train", "--data", shapes, *options, *more, "--output", run)
    assert done.returncode == 0, done.stderr
    record = read_log(run)[-1]
    shared = ["--data", str(shapes), "--split", "train", "--batch-size", "1", "--workers", "0", "--device", "cpu"]
    main(["eval", str(run / "last.pt"), *shared, "--output", str(out)])
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["AP50"] > 0
    for name in ("AP", "AP50", "AR10", "AR100"):
        assert record[name] == pytest.approx(metrics[name], abs=1e-9)


@pytest.mark.parametrize("ema", [(), ("--schedule.ema", 0.9)])
def test_two_processes_evaluate_the_same_weights(
    tmp_path: Path, shapes: Path, options: list[str], ema: tuple[object, ...]
) -> None:
    """Those that are saved, though each has batch norm statistics of its own images."""
    (tmp_path / "evaluated.py").write_text(EVALUATED)
    arguments = ["train", "--data", shapes, *options, "--model.norm", "batch", "--schedule.frozen-stages", 0, *ema]
    done = torchrun(tmp_path / "evaluated.py", tmp_path, *arguments, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
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
        module, "DistributedDataParallel", lambda detector, **options: wrapped.append(options) or detector
    )
    config = ModelConfig(**{"backbone": "resnet18", "channels": 8, "tower_depth": 0, **model})
    detector = Detector(config, ("a",)).eval()
    images, sizes = torch.randint(256, (1, 3, 64, 64), dtype=torch.uint8), torch.tensor([[64, 64]])
    with torch.inference_mode():
        before = detector(images, sizes)
        parallel(detector, Process(torch.device("cuda", 0), 0, 2))
        assert [value for name, value in wrapped[0].items() if "buffers" in name] == [False]
        # batch norm that is synchronised is not part of the convolutions, and rounded otherwise
        torch.testing.assert_close(detector(images, sizes).cls_logits, before.cls_logits)
    kinds = [type(module) for module in detector.backbone.modules()]
    assert sum(issubclass(kind, torch.nn.SyncBatchNorm) for kind in kinds) == synchronised
    assert sum(issubclass(kind, torch.nn.BatchNorm2d) for kind in kinds) == batch_norms


def test_two_processes_evaluate_as_one(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    def arguments(output: str) -> list[str]:
        more = ["--split", "train", "--batch-size", "2", "--workers", "0", "--device", "cpu"]
        return ["eval", str(checkpoint), "--data", str(shapes), *more, "--output", str(tmp_path / output)]

    main(arguments("one"))
    done = torchrun("-m", "paa", *arguments("two"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written to") == 1
    one, two = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    assert len(one) > 100
    key = json.dumps
    assert sorted(one, key=key) == sorted(two, key=key)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    assert metrics[0]["AP50"] > 0
    assert metrics[0] == metrics[1]


def test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with start("cpu") as process:
        assert (process.first, process.rank, process.world) == (True, 0, 1)
        values = torch.tensor([1.0, math.pi])
        assert process.mean(values) is values
        assert process.gather("x") == ["x"]
        process.copy_from_first([values])
        assert values.tolist() == pytest.approx([1.0, math.pi])
    assert not torch.distributed.is_initialized()
    assert not Process(torch.device("cpu"), rank=1, world=2).first


def test_processes_that_cannot_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(RunError, match=r"WORLD_SIZE is 2, but the processes cannot meet: .*; use torchrun"),
        start("cpu"),
    ):
        pass


def test_pick_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device(None) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device(None) == torch.device("cuda", 0)
    assert pick_device("cuda", local_rank=1) == torch.device("cuda", 1)
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(RunError, match="'cuda:7' does not exist: this machine has 2 GPUs"):
        pick_device("cuda:7")
    with pytest.raises(RunError, match="'cuda' does not exist"):
        pick_device("cuda", local_rank=2)


@pytest.mark.parametrize(
    ("name", "says"),
    [("banana", "unknown device"), ("", "unknown device"), ("cuda:-1", "unknown device"), ("meta", "is not supported")],
)
def test_no_such_device(name: str, says: str) -> None:
    with pytest.raises(RunError, match=says):
        pick_device(name)


def test_compiled_for_images_of_many_sizes(tmp_path: Path, options: list[str]) -> None:
    """Two processes, six steps, each of another size: no code for each of them."""
    (tmp_path / "compiled.py").write_text(COMPILED)
    data, random = tmp_path / "data", np.random.default_rng(0)
    (data / "images").mkdir(parents=True)
    images, boxes = [], []
    for number in range(1, 7):
        for copy in range(2):
            name, width = f"{number}-{copy}.png", 160 + 32 * number
            Image.fromarray(random.integers(0, 256, (160, width, 3), dtype=np.uint8)).save(data / "images" / name)
            images.append({"id": 2 * number + copy, "file_name": name, "height": 160, "width": width})
            boxes.append({"id": len(images), "image_id": images[-1]["id"], "category_id": 1, "bbox": [20, 20, 90, 99]})
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "noise"}]}
    (data / "train.json").write_text(json.dumps(content))
    more = ["--batch-size", 2, "--schedule.steps", 6, "--val-batch-size", 0, "--augment.min-sizes", 160]
    more += ["--augment.max-size", 999, "--workers", 0]

    def run(*flags: object, output: str) -> list[float]:
        command = ["train", "--data", data, *options, *more, "--output", tmp_path / output, *flags]
        done = torchrun(tmp_path / "compiled.py", tmp_path, *command)
        assert done.returncode == 0, done.stderr
        return [record["loss"] for record in read_log(tmp_path / output)]

    eager = run(output="eager")
    assert len(eager) == 6
    assert run("--compile", "default", output="compiled") == pytest.approx(eager, rel=1e-4)
    for rank in (0, 1):
        said = json.loads((tmp_path / f"{rank}.json").read_text())
        assert said["breaks"] == []
        assert 2 <= said["graphs"] <= 6  # of network and losses: the first size's, and those of all others
