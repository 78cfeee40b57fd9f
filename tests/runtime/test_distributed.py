from __future__ import annotations

import json
import logging
import math
import os
import time
from pathlib import Path

import pytest
import torch

from paa.errors import RunError
from paa.runtime.distributed import LostProcessError, Process, _is_about_others, start
from tests.processes import in_two_processes


def communicate(output: Path) -> None:
    """Write what this process gets from `mean`, `gather` and `copy_from_first` to a file."""
    with start("cpu") as process:
        values = torch.tensor([1.0, 10.0]) * (process.rank + 1)
        values.requires_grad_()
        mean = process.mean(values)
        tensors = [torch.full((2,), float(process.rank + 5)), torch.tensor(process.rank)]
        process.copy_from_first(tensors)
        said = {
            "rank": process.rank,
            "world": process.world,
            "on_host": process.on_host,
            "first": process.first,
            "mean": mean.tolist(),
            "graph": mean.requires_grad,
            "values": values.tolist(),
            "gathered": process.gather({"rank": process.rank}),
            "copied": [tensor.tolist() for tensor in tensors],
            "level": logging.getLogger("paa").level,
        }
    said["joined"] = torch.distributed.is_initialized()
    (output / f"{os.environ['RANK']}.json").write_text(json.dumps(said))


def test_two_processes_communicate(tmp_path: Path) -> None:
    for done in in_two_processes(tmp_path, communicate, tmp_path):
        assert done.code == 0, done.stderr
    common = {"world": 2, "on_host": 2, "mean": [1.5, 15.0], "graph": False, "joined": False}
    common |= {"gathered": [{"rank": 0}, {"rank": 1}], "copied": [[5.0, 5.0], 0]}
    own = {"rank": 0, "first": True, "values": [1.0, 10.0], "level": logging.NOTSET}
    assert json.loads((tmp_path / "0.json").read_text()) == common | own
    own = {"rank": 1, "first": False, "values": [2.0, 20.0], "level": logging.ERROR}
    assert json.loads((tmp_path / "1.json").read_text()) == common | own


def join_several_times(output: Path) -> None:
    """Join twice, and once inside a group that the program made itself; write what was gathered, and what is left."""
    gathered = []
    for _ in range(2):
        with start("cpu") as process:
            gathered.append(process.gather(process.rank))
    torch.distributed.init_process_group("gloo")
    with start("cpu") as process:
        gathered.append(process.gather(process.rank))
    left = torch.distributed.is_initialized()
    torch.distributed.destroy_process_group()
    (output / f"{os.environ['RANK']}.json").write_text(json.dumps([gathered, left]))


def test_a_program_joins_several_times(tmp_path: Path) -> None:
    """Such as a program that trains, then evaluates; its own group is used, and left as it is."""
    for done in in_two_processes(tmp_path, join_several_times, tmp_path):
        assert done.code == 0, done.stderr
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [[[0, 1]] * 3, True]


def lose_the_other(output: Path) -> None:
    """Wait for a process that does not come; write the error, and after how many seconds it came."""
    began = time.monotonic()
    try:
        with start("cpu", timeout=2) as process:
            if process.rank == 1:
                time.sleep(4)
                return
            began = time.monotonic()
            process.gather(None)
    except LostProcessError as error:
        (output / "error").write_text(f"{time.monotonic() - began:.1f} {error}")


def test_a_process_that_says_nothing_is_lost(tmp_path: Path) -> None:
    in_two_processes(tmp_path, lose_the_other, tmp_path)
    seconds, _, says = (tmp_path / "error").read_text().partition(" ")
    assert says.startswith("process 0 of 2 lost another one, which has ended, or cannot be reached (")
    assert "last checkpoint" in says
    assert "\n" not in says
    assert 1.5 < float(seconds) < 30


def test_which_errors_are_of_lost_processes() -> None:
    assert not _is_about_others(torch.OutOfMemoryError("out of memory"))
    assert _is_about_others(torch.distributed.DistNetworkError("reset"))


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


def test_processes_that_cannot_reach_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(RunError, match=r"WORLD_SIZE is 2, but the processes cannot reach each other: .*; use torchrun"),
        start("cpu"),
    ):
        pass


def test_one_gpu_for_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(RunError, match=r"'cuda:1' would be shared by all 2 processes; with cuda each takes its own"):
        start("cuda:1").__enter__()
