"""Every record of a run goes to log.jsonl, to TensorBoard's files and to the listener; all are closed at the end."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from paa.errors import RunError
from paa.training.records import STOP, Record, ignore
from paa.training.run_folder import RunFolder
from paa.training.run_log import open_log
from paa.training.train import train
from tests.training.runs import CPU, KilledError, Micro, kill_at, read_log

BOARD: Any = ("tensorboard",)
RECORDS: list[Record] = [
    {"step": 1, "steps": 3, "loss": 2.0, "loss_box": 1.0},
    {"step": 2, "steps": 3, "loss": 1.5, "loss_box": 0.5},
    {"step": 2, "AP": None, "AP50": 0.25},
    {"step": 3, "steps": 3, "loss": 1.0, "loss_box": 0.25},
]


def at(step: int, validation_due: bool = False) -> Any:
    """Return what `open_log` looks at of a run's state."""
    return SimpleNamespace(step=step, validation_due=validation_due)


def scalars(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard shows of a run: name -> (step, value) of each point."""
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_records_go_everywhere(tmp_path: Path) -> None:
    run, heard = RunFolder(tmp_path), list[Record]()

    def listener(record: Record) -> object:
        assert read_log(run.log)[-1] == record  # the record is written before the listener gets it
        heard.append(record)
        return STOP if record["step"] == 3 else None

    with open_log(run, at(0), listener, BOARD) as write:
        assert [write(record) for record in RECORDS] == [None, None, None, STOP]
    assert read_log(run.log) == heard == RECORDS
    assert scalars(run) == {
        "loss": [(1, 2.0), (2, 1.5), (3, 1.0)],
        "loss/box": [(1, 1.0), (2, 0.5), (3, 0.25)],
        "AP50": [(2, 0.25)],
    }


@pytest.mark.parametrize(("validation_due", "kept"), [(False, 3), (True, 2)])
def test_what_a_resumed_run_does_again_is_dropped(tmp_path: Path, validation_due: bool, kept: int) -> None:
    """Also the validation of its checkpoint's step, if that was not finished; without, nothing is written twice."""
    run = RunFolder(tmp_path)
    with open_log(run, at(0), ignore, BOARD) as write:
        for record in RECORDS:
            write(record)
    before = scalars(run)
    with open_log(run, at(2, validation_due), ignore, BOARD) as write:
        assert read_log(run.log) == RECORDS[:kept]
        for record in RECORDS[kept:]:
            write(record)
    assert read_log(run.log) == RECORDS
    assert scalars(run) == before


def test_a_disk_that_is_full_for_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, hook = RunFolder(tmp_path), threading.excepthook

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with open_log(run, at(0), ignore, BOARD) as write:
        monkeypatch.setattr(SummaryWriter, "add_scalar", full)
        with pytest.raises(RunError, match="tensorboard: cannot be written: No space left"):
            write(RECORDS[0])
    assert read_log(run.log) == RECORDS[:1]
    assert threading.excepthook is hook


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_run_opens_is_closed(tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    closed: list[Path] = []
    close = SummaryWriter.close

    def spy(board: Any) -> None:
        closed.append(Path(board.log_dir))
        assert (tmp_path / "run" / "lock").exists()
        close(board)

    monkeypatch.setattr(SummaryWriter, "close", spy)
    if fails:
        with pytest.raises(KilledError):
            train(micro(tmp_path / "run"), CPU, kill_at(2))
    else:
        train(micro(tmp_path / "run"), CPU)
    assert closed == [tmp_path / "run" / "tensorboard"]
    assert not (tmp_path / "run" / "lock").exists()
