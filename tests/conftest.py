"""A data set, a recipe and a checkpoint that are small enough to train and predict with in every test."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from paa.config import AugmentConfig, DataConfig, ModelConfig, Recipe, RuntimeConfig, ScheduleConfig, ValidationConfig
from paa.data.shapes import NAMES, make_shapes
from paa.model.detector import Detector
from paa.training.run_folder import save_checkpoint
from paa.training.settings import TrainConfig
from paa.weights.formats import own
from tests.slow import LONG, SLOW

TESTS = Path(__file__).parent
MODEL = ModelConfig(backbone="resnet18", channels=16, tower_depth=1, min_size=64, max_size=96)
AUGMENT = AugmentConfig(min_sizes=(64,), max_size=96)
SCHEDULE = ScheduleConfig(
    steps=4, decays=(3,), reference_batch=2, lr=0.002, warmup_steps=2, frozen_stages=5, weight_decay=0.01
)

OPTIONS: dict[str, object] = {
    "recipe": "r18_nano",
    "model.norm": "frozen",
    "model.channels": 16,
    "model.tower-depth": 1,
    "model.min-size": 64,
    "model.max-size": 96,
    "augment.min-sizes": 64,
    "augment.max-size": 96,
    "augment.scale-jitter": None,
    "augment.color-jitter": 0,
    "schedule.steps": 4,
    "schedule.decays": 3,
    "schedule.reference-batch": 2,
    "schedule.lr": 0.002,
    "schedule.optimizer": "sgd",
    "schedule.shape": "step",
    "schedule.warmup": "constant",
    "schedule.warmup-steps": 2,
    "schedule.clip-norm": None,
    "schedule.frozen-stages": 5,
    "batch-size": 2,
    "workers": 0,
    "device": "cpu",
    "log-interval": 1,
}


def pytest_configure() -> None:
    """Take SIGINT and SIGHUP as a terminal's programs do: what a shell starts in the background ignores SIGINT.

    So would every process that a test starts and interrupts.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that `make quick` and `make test` leave out."""
    long = tuple(f"tests/{place}" for place in LONG)
    for item in items:
        if any(item.path.is_relative_to(TESTS / place) for place in SLOW):
            item.add_marker(pytest.mark.slow)
        if item.nodeid.startswith(long):
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session", autouse=True)
def _quick_and_repeatable() -> Iterator[None]:
    """One thread, here and in subprocesses, for equality to the bit; no waiting for the disk at each checkpoint."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr(os, "fsync", lambda file: None)
        yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Leave the log to the next test without a command's handler, whose stream ends with the test."""
    log = logging.getLogger("paa")
    handlers = list(log.handlers)
    yield
    log.handlers[:] = handlers


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a data set of 8 images to train on and 2 to validate with, 64 pixels high or wide."""
    return make_shapes(tmp_path_factory.mktemp("data") / "shapes", 10, size=(64, 96))


@pytest.fixture(scope="session")
def options() -> list[str]:
    """Return the options of `paa train` that make a run as small as `micro`'s."""
    return [word for name, value in OPTIONS.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="session")
def micro(shapes: Path) -> Callable[..., TrainConfig]:
    """Return a function that makes the configuration of a run of four steps, less than a second.

    micro(output, data={...}, model={...}, augment={...}, schedule={...}, validation={...}, runtime={...}, **others)
    """

    def make(output: Path, **changes: Any) -> TrainConfig:
        def changed(name: str, config: Any) -> Any:
            return replace(config, **changes.pop(name, {}))

        recipe = Recipe(changed("model", MODEL), changed("augment", AUGMENT), changed("schedule", SCHEDULE))
        given = {
            "data": changed("data", DataConfig(shapes)),
            "validation": changed("validation", ValidationConfig(batch_size=0)),
            "runtime": changed("runtime", RuntimeConfig(device="cpu", workers=0, log_interval=1)),
        }
        named = ("schedule.warmup_steps",)
        return TrainConfig(**{"output": output, "recipe": recipe, "batch_size": 2, "named": named, **given, **changes})

    return make


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of the classes of `shapes` that detects a lot, if little of it right."""
    torch.manual_seed(0)
    detector = Detector(MODEL, NAMES)
    torch.nn.init.normal_(detector.head.cls_logits.weight, std=0.3)
    torch.nn.init.normal_(detector.head.deltas.weight, std=0.05)
    torch.nn.init.constant_(detector.head.cls_logits.bias, -1)
    path = tmp_path_factory.mktemp("checkpoint") / "model.pt"
    save_checkpoint(path, own.write(detector.config, detector.names, detector.state_dict()))
    return path
