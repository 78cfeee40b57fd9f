"""Steps whose loss or gradient is infinite or NaN are skipped and counted; too many of them in a row end a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from paa.data.batch import Batch
from paa.data.index import DatasetIndex
from paa.data.read_report import counted
from paa.errors import RunError
from paa.model.detector import Detector
from paa.runtime.distributed import Process
from paa.training.bad_steps import KEPT, keep_bad_step
from paa.training.run_folder import RunFolder
from paa.training.state import TrainingState
from paa.training.step_result import StepResult

log = logging.getLogger("paa")

_NAMED = 10  # skipped steps that a run warns of one by one


class _Waiting(NamedTuple):
    """A step that is still to be checked; copied: happens when its numbers have reached the host."""

    step: int
    names: tuple[str, ...]
    values: Tensor
    copied: torch.cuda.Event | None
    parts: Sequence[Batch]


class FiniteCheck:
    """Counts the steps that were skipped, names their images, and stops the run where there are too many in a row.

    The step itself is skipped on the device (`train_step`). Its numbers are copied to the host while the next step
    runs, and looked at then, so that a GPU never waits.
    """

    def __init__(
        self, index: DatasetIndex, process: Process, state: TrainingState, folder: RunFolder, max_bad_steps: int
    ) -> None:
        """max_bad_steps: how many steps in a row may be skipped."""
        self.index, self.process, self.state, self.folder = index, process, state, folder
        self.max_bad_steps = max_bad_steps
        self._waiting: _Waiting | None = None

    def add(self, step: int, result: StepResult, parts: Sequence[Batch]) -> None:
        """Check the step before, and keep what this step says for the next call.

        step: counted from 1. parts: this process's images.
        """
        self.check_now()
        values, copied = result.checked.detach(), None
        if values.is_cuda:
            values = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        self._waiting = _Waiting(step, (*result.losses, "gradient norm"), values, copied, parts)

    def check_now(self) -> None:
        """Check the step that waits for it, if there is one; RunError where one too many in a row was skipped.

        Every process calls it at the same step, and comes to the same result.
        """
        if self._waiting is None:
            return
        waiting, self._waiting = self._waiting, None
        if waiting.copied is not None:
            waiting.copied.synchronize()
        if bool(waiting.values.isfinite().all()):
            self.state.bad_in_a_row = 0
            return
        self.state.bad_steps += 1
        self.state.bad_in_a_row += 1
        self._report(waiting)

    def _report(self, bad: _Waiting) -> None:
        """Keep a step that was skipped, and warn of it, or raise RunError."""
        in_a_row, path = self.state.bad_in_a_row, self.folder.bad_steps
        mine = [self.index.path(i) for part in bad.parts for i in part.positions.tolist()]
        images = [image for part in self.process.gather(mine) for image in part]
        numbers = {name: f"{value:.4g}" for name, value in zip(bad.names, bad.values.tolist())}
        kept = self.state.bad_steps <= KEPT
        if kept:
            facts = {"step": bad.step, **numbers, "lr": self.state.schedule.lr_at(bad.step - 1)}
            facts["images"] = [str(image) for image in images]
            keep_bad_step(path, bad.step, facts, bad.parts, self.process)
        said = (
            f"loss or gradient of step {bad.step} is not finite "
            f"({', '.join(f'{name} {value}' for name, value in numbers.items())}); "
            f"its images: {', '.join(image.name for image in images)}"
        )
        if in_a_row > self.max_bad_steps:
            row = f", after {counted(in_a_row - 1, 'step')} that had to be skipped" if in_a_row > 1 else ""
            where = f"; the first are in {path}" if path.exists() else ""
            raise RunError(f"the {said}{row}{where}. {self._remedy()}")
        if self.state.bad_steps <= _NAMED:
            log.warning(f"{said}; the step is skipped" + (f", and its batch is in {path}" if kept else ""))
        if self.state.bad_steps == _NAMED:
            log.warning("further steps are skipped without a line; the log counts them (bad_steps)")

    def before_saving(self, step: int, *detectors: Detector) -> None:
        """Check the step that waits for it, and all weights after this step; RunError unless they are finite."""
        self.check_now()
        tensors = [named for detector in dict.fromkeys(detectors) for named in detector.state_dict().items()]
        finite = torch.stack([tensor.isfinite().all() for _, tensor in tensors]).tolist()
        if not all(finite):
            raise RunError(f"step {step} left {tensors[finite.index(False)][0]} infinite or NaN. {self._remedy()}")

    def summary(self) -> str | None:
        """Return a line for people about all steps of the run that were skipped; None where there are none."""
        if not self.state.bad_steps:
            return None
        return (
            f"{counted(self.state.bad_steps, 'step')} of {self.state.step} skipped, as loss or gradient was not "
            f"finite: the first are in {self.folder.bad_steps}; {_REMEDY}"
        )

    def _remedy(self) -> str:
        last = self.folder.last
        return f"{f'{last} is from an earlier step' if last.exists() else 'No checkpoint was saved before'}; {_REMEDY}"


_REMEDY = "a lower learning rate (schedule.lr) or clipped gradients (schedule.clip_norm) may help"
