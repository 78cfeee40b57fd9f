"""Weights & Biases, offline: its files hold the recipe and every number at its step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paa.errors import RunError
from paa.training.loggers.interface import LoggedRun, scalars_of
from paa.training.loggers.run_ids import known_id
from paa.training.loggers.wandb import _ENVIRONMENT, open_wandb
from paa.training.train import train
from tests.training.runs import CPU, KilledError, Micro, kill_at, read_log

wandb = pytest.importorskip("wandb")

_BLOCK, _HEADER = 32768, 7


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _ENVIRONMENT.items():  # which the adapter sets for good
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_PROJECT", "cells")


def messages(file: Path) -> Iterator[Any]:
    """Yield what a run's file holds: protocol buffers in LevelDB's log format, after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = file.read_bytes(), _HEADER, b""
    while at + _HEADER <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        part = data[at + _HEADER : at + _HEADER + length]
        whole = part if kind in (1, 2) else whole + part  # 1: whole, 2: first, 3: middle, 4: last
        if kind in (1, 4):
            message = Record()
            message.ParseFromString(whole)
            yield message
        at += _HEADER + length


def history(folder: Path) -> list[dict[str, Any]]:
    """Return the rows that the files of a run hold, in the order in which they were written."""
    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    rows = [message.history for file in files for message in messages(file) if message.HasField("history")]
    return [{i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in row.item} for row in rows]


def configuration(folder: Path) -> dict[str, Any]:
    """Return the parameters in the files of a run."""
    values: dict[str, Any] = {}
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for message in messages(file):
            run = message.run.config.update if message.HasField("run") else message.config.update
            values.update({item.key: json.loads(item.value_json) for item in run if item.key})
    return values


def test_a_run_that_is_killed_and_resumed_is_one_run(tmp_path: Path, micro: Micro) -> None:
    def config(**changes: Any) -> Any:
        runtime = {"loggers": ("wandb",), "checkpoint_interval": 2}
        return micro(tmp_path / "run", validation={"batch_size": 2, "interval": 2}, runtime=runtime, **changes)

    with pytest.raises(KilledError):
        train(config(), CPU, kill_at(3))
    run_id = known_id(tmp_path / "run", "wandb")
    result = train(config(resume="last"), CPU)
    assert known_id(tmp_path / "run", "wandb") == run_id
    folders = sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert [folder.name.rsplit("-", 1)[1] for folder in folders] == [run_id, run_id]

    rows = history(tmp_path / "run")
    assert [row["_step"] for row in rows] == [1, 2, 3, 3, 4]  # step 3 was lost, and is trained again
    records = [record for record in read_log(result.log) if "loss" in record]
    by_step = {row["_step"]: row for row in rows}
    for record in records:
        for name, value in scalars_of(record).items():
            assert by_step[record["step"]][name] == pytest.approx(value), name
    assert [row["_step"] for row in rows if "AP" in row] == [2, 4]

    parameters = configuration(tmp_path / "run")
    assert parameters["schedule.lr"] == 0.002
    assert parameters["model.backbone"] == "resnet18"
    kept = folders[-1] / "files"
    assert (kept / "recipe.json").read_text() == (result.folder / "recipe.json").read_text()
    assert (kept / "README.md").read_text() == (result.folder / "README.md").read_text()


def test_names_are_those_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def settings() -> tuple[str, str]:
        run = open_wandb(LoggedRun(tmp_path / "my-run", {}))
        run.close(None)
        return run._run.project, run._run.name

    (tmp_path / "my-run").mkdir()
    assert settings() == ("cells", "my-run")
    monkeypatch.setenv("WANDB_NAME", "another")
    monkeypatch.delenv("WANDB_PROJECT")
    assert settings() == ("paa", "another")


def test_no_code_no_terminal_output_no_error_reports(tmp_path: Path) -> None:
    run = open_wandb(LoggedRun(tmp_path, {}))
    run.close(None)
    assert run._run.settings.console == "off"
    assert run._run.settings.save_code is False
    assert wandb.env.error_reporting_enabled() is False
    assert not list(tmp_path.glob("wandb/*/files/output.log"))
    assert not list(tmp_path.glob("wandb/*/files/code/*"))


def test_without_a_login(tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb.teardown()  # the tool reads the environment once
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(RunError, match=r"^wandb: .*; run wandb login, or set WANDB_MODE=offline, or train without it"):
        train(micro(tmp_path / "run", runtime={"loggers": ("tensorboard", "wandb")}), CPU)
    assert list((tmp_path / "run").iterdir()) == []
    wandb.teardown()
