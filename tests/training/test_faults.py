"""What becomes of a run where its data, its workers, its device or its disk fail while it trains."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

import paa
from paa.errors import ImageError, RunError
from paa.model.detector import Detector
from paa.runtime.out_of_memory import is_out_of_memory
from paa.training import train as engine
from paa.training.records import Record, TrainResult
from paa.training.run import Run
from paa.training.train import train
from tests.training.runs import CPU, Micro, differences, load, read_log, timeless

STEPS: dict[str, Any] = {"schedule": {"steps": 8}}


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory, micro: Micro) -> TrainResult:
    """Return a run of eight steps in which nothing fails."""
    return train(micro(tmp_path_factory.mktemp("runs") / "eight", **STEPS), CPU)


@pytest.fixture
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch look for workers that ended ten times a second, not every five seconds."""
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.1,))


def assert_same(run: TrainResult, whole: TrainResult) -> None:
    assert differences(load(run.last), load(whole.last)) == []
    assert timeless(read_log(run.log)) == timeless(read_log(whole.log))


def at_step(step: int, do: Callable[[], object]) -> Callable[[Record], None]:
    """Return a listener that does something at the record of a step."""

    def listen(record: Record) -> None:
        if record["step"] == step:
            do()

    return listen


def send(number: int) -> None:
    """Send a signal to the loader's workers."""
    workers = multiprocessing.active_children()
    assert workers
    for worker in workers:
        assert worker.pid is not None
        os.kill(worker.pid, number)


@pytest.mark.usefixtures("_looks_often")
def test_workers_that_are_killed(
    tmp_path: Path, micro: Micro, eight: TrainResult, caplog: pytest.LogCaptureFixture
) -> None:
    """The run goes on with others, and ends with the same bits."""
    config = micro(tmp_path / "run", runtime={"workers": 2}, **STEPS)
    assert_same(train(config, CPU, at_step(2, lambda: send(signal.SIGKILL))), eight)
    warned = [line for line in caplog.messages if "the workers are started again" in line]
    assert len(warned) == 1
    assert re.match(r"loader worker \d+ was ended by a signal \(Killed\)", warned[0])


@pytest.mark.usefixtures("_looks_often")
def test_a_worker_that_hangs(tmp_path: Path, micro: Micro, eight: TrainResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends with a checkpoint of its last step, from which it goes on to the same bits."""
    listener = at_step(2, lambda: send(signal.SIGSTOP))
    config = micro(tmp_path / "run", runtime={"workers": 1, "worker_timeout": 2}, **STEPS)
    with pytest.raises(RunError) as caught:
        train(config, CPU, listener)
    last = tmp_path / "run" / "last.pt"
    step = load(last)["training"]["step"]
    assert 2 <= step < 8
    assert re.fullmatch(
        r"no loader worker handed over a batch for 2 s \(--worker-timeout\)(, while reading .*\.jpg)?: the images' "
        rf"disk or network folder may hang; .*--workers 0 \(training step {step + 1}; {last} holds the {step} before, "
        r"--resume goes on\)",
        str(caught.value),
    )
    assert_same(train(micro(tmp_path / "run", resume="last", **STEPS), CPU), eight)


def test_an_image_that_is_overwritten(tmp_path: Path, micro: Micro, shapes: Path, eight: TrainResult) -> None:
    """Without skip_bad the run ends with a checkpoint, and goes on when the image is back; with it, it goes on."""
    data = shutil.copytree(shapes, tmp_path / "data")
    images = json.loads((data / "train.json").read_text())["images"]
    tall = {image["file_name"]: image["height"] >= image["width"] for image in images}
    kept = {is_tall: name for name, is_tall in tall.items()}  # one of each aspect class, which can be used instead
    bad = [data / "images" / name for name in tall if name not in kept.values()]
    contents = {image: image.read_bytes() for image in bad}

    def spoil() -> None:
        for image in bad:
            image.write_bytes(b"garbage")

    shared: dict[str, Any] = {"data": {"path": data}, **STEPS}
    with pytest.raises(ImageError) as caught:
        train(micro(tmp_path / "run", **shared), CPU, at_step(3, spoil))
    last = tmp_path / "run" / "last.pt"
    step = load(last)["training"]["step"]
    assert 3 <= step < 8
    says = rf"{data}/images/\d+\.jpg: .*--skip-bad \(training step {step + 1}; {last} holds the {step} before, .*"
    assert re.fullmatch(says, str(caught.value))
    for image, content in contents.items():
        image.write_bytes(content)
    resumed = train(micro(tmp_path / "run", resume="last", **shared), CPU)
    assert_same(resumed, eight)

    shared["data"]["skip_bad"] = True
    run = train(micro(tmp_path / "skipped", **shared), CPU, at_step(3, spoil))
    assert run.step == 8
    lines = (tmp_path / "skipped" / "left_out.txt").read_text().splitlines()
    assert lines
    assert all(re.match(rf"train: {data}/images/\d+\.jpg: ", line) for line in lines)
    assert timeless(read_log(run.log))[:3] == timeless(read_log(eight.log))[:3]


def test_no_memory_for_a_step(
    tmp_path: Path, micro: Micro, eight: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the backward pass, when batch norm has seen the batch already."""
    real = engine.train_step

    def no_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of")

    def train_step(run: Run, parts: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            if run.state.step == 2:
                patch.setattr(torch.Tensor, "backward", no_memory)
            return real(run, parts)

    monkeypatch.setattr(engine, "train_step", train_step)
    shared: dict[str, Any] = {"batch_size": 4, "model": {"norm": "batch"}}
    shared["schedule"] = {"frozen_stages": 0, "reference_batch": 4}
    says = (
        r"cpu has no memory left for 4 images of \d+ x \d+ pixels at a time, in a step of recipe mine \(resnet18, "
        r"batch 4\); what helps: --accumulate 2, which computes the same batch in parts of 2 images; smaller images "
        r"\(augment\.min_sizes, augment\.max_size\); a smaller --batch-size \(training step 3; "
        rf"{tmp_path}/run/last\.pt holds the 2 before, --resume goes on\)"
    )
    with pytest.raises(RunError, match=f"^{says}$"):
        train(micro(tmp_path / "run", recipe_name="mine", **shared), CPU)
    monkeypatch.undo()
    resumed = train(micro(tmp_path / "run", resume="last", **shared), CPU)
    whole = train(micro(tmp_path / "whole", **shared), CPU)
    assert differences(load(resumed.last), load(whole.last)) == []


def test_no_memory_for_detection(checkpoint: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Detector, "detect", no_memory)
    says = r"^cpu has no memory left for 1 image of \d+ x \d+ pixels at a time; what helps: a smaller --batch-size"
    with pytest.raises(RunError, match=says):
        paa.load(checkpoint, "cpu").predict(next((shapes / "images").glob("*.jpg")))


def test_what_counts_as_a_want_of_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_out_of_memory(OSError("Cannot allocate memory"))
