"""The records of a run: how they are made, and how a listener stops the run."""

from __future__ import annotations

import logging
import math

import pytest
import torch

from paa.training import log as module
from paa.training.log import TrainingLog
from paa.training.records import STOP, Record, ignore
from paa.training.schedule import Schedule
from paa.training.step_result import StepResult
from tests.training.runs import CPU

SCHEDULE = Schedule(10, (), 0.1, 2, 0.5, "constant", "step")


def result(losses: tuple[float, float, float], positives: float, norm: float = 1.5) -> StepResult:
    names = ("classification", "box", "iou")
    checked = torch.tensor([*losses, norm])
    by_name = {name: torch.tensor(loss) for name, loss in zip(names, losses)}
    return StepResult(by_name, torch.tensor(positives), torch.tensor(norm), checked, checked.isfinite().all())


def test_training_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed and time left are those since the record before, or since the clock was restarted."""
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    heard: list[Record] = []
    log = TrainingLog(heard.append, CPU, SCHEDULE, batch_size=4)
    log.restart_clock(1)  # a run that is resumed
    now[0] += 2
    log.training(2, result((0.5, 0.25, 0.125), 7), 0)
    now[0] += 100  # a validation
    log.restart_clock(2)
    now[0] += 8
    log.training(4, result((1.0, 1.0, 1.0), 3, 2.5), 3)
    losses = {"loss_classification": 0.5, "loss_box": 0.25, "loss_iou": 0.125}
    assert heard[0] == {
        "step": 2,
        "steps": 10,
        "loss": 0.875,
        **losses,
        "positives": 7,
        "gradient_norm": 1.5,
        "bad_steps": 0,
        "lr": pytest.approx(0.05),
        "images_per_second": 2.0,
        "seconds_left": 16.0,
    }
    assert (heard[1]["images_per_second"], heard[1]["seconds_left"]) == (1.0, 24.0)
    assert (heard[1]["gradient_norm"], heard[1]["lr"]) == (2.5, pytest.approx(0.1))
    assert heard[1]["bad_steps"] == 3


def test_json_has_no_number_for_what_is_not_finite() -> None:
    heard: list[Record] = []
    log = TrainingLog(heard.append, CPU, SCHEDULE, batch_size=4)
    log.training(1, result((0.5, math.nan, 0.25), 7, math.inf), 1)
    (record,) = heard
    assert record["loss"] is record["loss_box"] is record["gradient_norm"] is None
    assert (record["loss_classification"], record["loss_iou"]) == (0.5, 0.25)


def test_a_validation_record() -> None:
    heard: list[Record] = []
    TrainingLog(heard.append, CPU, SCHEDULE, batch_size=4).validation(3, {"AP": 0.5})
    assert heard == [{"step": 3, "AP": 0.5}]


def test_only_stop_stops() -> None:
    answers = iter([None, False, "Stop", 0, STOP, None])
    log = TrainingLog(lambda record: next(answers), CPU, SCHEDULE, batch_size=4)
    stopped = []
    for step in range(1, 7):
        log.validation(step, {})
        stopped.append(log.stopped)
    assert stopped == [False, False, False, False, True, True]


def test_contention_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    remarks = iter(["the processors are contended", None])
    log = TrainingLog(ignore, CPU, SCHEDULE, batch_size=4)
    monkeypatch.setattr(log._cpu_share, "remark", lambda: next(remarks))
    for step in (1, 2):
        log.training(step, result((1, 1, 1), 1), 0)
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [(logging.WARNING, "the processors are contended")]
