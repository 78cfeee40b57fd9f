"""What tests of training runs share: how they are stopped, read and compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.runtime.distributed import Process
from paa.runtime.stop_signals import StopSignals
from paa.training.interruption import Interruption
from paa.training.records import Record
from paa.training.settings import TrainConfig
from paa.training.time_limit import TimeLimit

CPU = Process(torch.device("cpu"))
NEVER = Interruption(CPU, StopSignals(), TimeLimit(None))
"""What interrupts a run in a test that needs no interruption."""
Micro = Callable[..., TrainConfig]

_TIMES = {"images_per_second", "seconds_left", "evaluation_seconds"}


class KilledError(Exception):
    """Ends a run as a killed process ends: nothing is saved."""


def kill_at(step: int) -> Callable[[Record], None]:
    """Return a listener that ends the run at the first record of a step."""

    def listen(record: Record) -> None:
        if record["step"] == step:
            raise KilledError

    return listen


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Return where two checkpoints differ, to the bit."""
    if isinstance(a, dict) and isinstance(b, dict) and list(a) == list(b):
        return [name for key in a for name in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [name for i, pair in enumerate(zip(a, b)) for name in differences(*pair, f"{where}/{i}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [where]
    return [] if type(a) is type(b) and a == b else [where]


def read_log(log: Path) -> list[Record]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def timeless(records: list[Record]) -> list[Record]:
    """Return records without what differs between equal runs."""
    return [{k: v for k, v in record.items() if k not in _TIMES} for record in records]


def cut_after_reading(shapes: Path, folder: Path, names: tuple[str, ...] | None) -> tuple[DatasetIndex, int]:
    """Return the images to train on of a copy of the data set, of which one is cut short after that, and its place."""
    index = read_dataset(shutil.copytree(shapes, folder), "train", names=names)
    index.path(2).write_bytes(index.path(2).read_bytes()[:200])
    return index, 2


def damage_an_image(shapes: Path, folder: Path) -> tuple[Path, str]:
    """Return a copy of the data set in which one image to train on is cut short, and that image's name."""
    data = shutil.copytree(shapes, folder)
    name = json.loads((data / "train.json").read_text())["images"][2]["file_name"]
    (data / "images" / name).write_bytes((data / "images" / name).read_bytes()[:200])
    return data, name
