"""Making the records of a run, and stopping the run when its listener asks for that."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping

import torch

from paa.runtime.contention import CpuShare
from paa.runtime.distributed import Process
from paa.training.records import STOP, Listener, Record
from paa.training.schedule import Schedule
from paa.training.step_result import StepResult

log = logging.getLogger("paa")


class TrainingLog:
    """Makes the records of a run and has them written; every process calls its methods, at the same steps.

    stopped: whether the listener has asked to end the run; the same in all processes.
    """

    def __init__(self, write: Listener, process: Process, schedule: Schedule, batch_size: int) -> None:
        """write: writes a record, and returns what the run's listener returns. batch_size: of all processes."""
        self._write, self._process, self._schedule, self._batch_size = write, process, schedule, batch_size
        self._cpu_share = CpuShare()
        self.stopped = False
        self.restart_clock(0)

    def restart_clock(self, step: int) -> None:
        """Measure the speed from here on; step: steps trained so far."""
        self._clock, self._clock_step = time.perf_counter(), step

    def training(
        self, step: int, result: StepResult, bad_steps: int, assignment: Mapping[str, float] | None = None
    ) -> None:
        """Record a step: its losses averaged over processes, learning rate, speed, time left.

        step: counted from 1. bad_steps, and the numbers of the assignment, known in the first process: see `Record`.
        """
        speed = (step - self._clock_step) * self._batch_size / (time.perf_counter() - self._clock)
        means = self._process.mean(torch.stack(list(result.losses.values()))).tolist()
        record: Record = {"step": step, "steps": self._schedule.steps, "loss": _finite(sum(means))}
        record.update({f"loss_{name}": _finite(loss) for name, loss in zip(result.losses, means)})
        record["positives"] = result.num_positives.item()
        record["gradient_norm"] = _finite(result.gradient_norm.item())
        record["lr"] = self._schedule.lr_at(step - 1)
        record["bad_steps"] = bad_steps
        record["images_per_second"] = round(speed, 3)
        record["seconds_left"] = round((self._schedule.steps - step) * self._batch_size / speed, 1)
        record.update(assignment or {})
        self._record(record)
        if self._process.first and (remark := self._cpu_share.remark()):
            log.warning(remark)
        self.restart_clock(step)

    def validation(self, step: int, metrics: Record) -> None:
        """Record the numbers of a validation; metrics: known in the first process only."""
        self._record({"step": step, **metrics})

    def _record(self, record: Record) -> None:
        asked = self._write(record) is STOP
        self.stopped = self.stopped or any(self._process.gather(asked))


def _finite(value: float) -> float | None:
    """Return a number, or None for what JSON has no number for."""
    return value if math.isfinite(value) else None
