from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from paa.errors import RunError
from paa.runtime.distributed import Process
from paa.training.agreement import agree_on_checkpoint
from tests.training.runs import CPU


@dataclass(frozen=True)
class Beside(Process):
    """A process beside which another one, on another machine, sees these files, one after the other, then the same."""

    seen: Iterator[str] = field(default_factory=lambda: iter(()))

    def gather(self, value: Any) -> list[Any]:
        return [value, next(self.seen, value)]

    def any(self, value: bool) -> bool:
        return value


def beside(*seen: str) -> Process:
    return Beside(torch.device("cpu"), 0, 2, seen=iter(seen))


def test_alone(tmp_path: Path) -> None:
    assert agree_on_checkpoint(CPU, lambda: None) is None
    assert agree_on_checkpoint(CPU, lambda: tmp_path / "last.pt") == tmp_path / "last.pt"


def test_a_machine_that_sees_a_file_late_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"12")
    found: list[Path] = []

    def find() -> Path:
        found.append(tmp_path / "last.pt")
        return found[-1]

    assert agree_on_checkpoint(beside("last.pt of 1 bytes, 1.000", "none"), find) == tmp_path / "last.pt"
    assert len(found) == 3


def test_machines_that_do_not_share_the_folder() -> None:
    with pytest.raises(RunError, match=r"see different checkpoints \(none, last.pt of 5 bytes\): --output must be one"):
        agree_on_checkpoint(beside(*["last.pt of 5 bytes"] * 9), lambda: None, patience=0.1)
