"""A run that is set up: all that the loop works with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from paa.config import Precision
from paa.core.assignment import Assigner
from paa.core.losses import LossResult
from paa.data.batch import Batch
from paa.data.index import DatasetIndex
from paa.data.loader import Loader
from paa.errors import PaaError, RunError
from paa.runtime.distributed import Process
from paa.runtime.stop_signals import StoppedError
from paa.training.assignment_watch import Watch
from paa.training.finite import FiniteCheck
from paa.training.interruption import Interruption
from paa.training.log import TrainingLog
from paa.training.records import OnAssignment, TrainResult
from paa.training.run_data import NoteLeftOut
from paa.training.run_folder import RunFolder, save_checkpoint
from paa.training.settings import TrainConfig
from paa.training.state import TrainingState
from paa.training.statistics import Statistics
from paa.training.teacher import Teacher


@dataclass(frozen=True)
class Run:
    """One process's part of a run; `state` changes with each step, the rest stays.

    config: with the model that `--init` or the checkpoint decided. val_index: the validation set, which is evaluated
    every `validation_interval` steps; None without validation. loader: the batches of the steps to come, each step's in
    `accumulate` parts. model: the detector, wrapped where there are several processes. losses: `paa_losses`, compiled
    if that was asked for. assigner: the rule that they are given, or by which the teacher, if there is one, assigns for
    them. on_assignment: gets what each step trains on. first_step: how many steps were made before this run started, or
    was resumed. watch: looks at the assignment of some images, where a look is due. write_card: writes the model card
    anew, with the numbers so far.
    """

    config: TrainConfig
    process: Process
    folder: RunFolder
    val_index: DatasetIndex | None
    validation_interval: int
    loader: Loader
    state: TrainingState
    model: nn.Module
    losses: Callable[..., LossResult]
    assigner: Assigner
    on_assignment: OnAssignment
    teacher: Teacher | None
    precision: Precision
    log: TrainingLog
    finite: FiniteCheck
    statistics: Statistics
    note_left_out: NoteLeftOut
    interruption: Interruption
    first_step: int
    watch: Watch
    write_card: Callable[[int], None]

    def is_due(self, interval: int) -> bool:
        """Return whether something that is done every `interval` steps, and after the last step, is due now."""
        step = self.state.step
        return step == self.state.schedule.steps or step % interval == 0

    @property
    def unfinished(self) -> bool:
        """Whether steps, or the validation of the last one, are still to be done."""
        return self.state.step < self.state.schedule.steps or self.state.validation_due

    @property
    def out_of_patience(self) -> bool:
        """Whether as many validations in a row as `validation.patience` says had no higher AP than one before."""
        patience = self.config.validation.patience
        return patience is not None and self.val_index is not None and self.state.since_best >= patience

    @property
    def stopped(self) -> bool:
        """Whether the run ends before its last step: its listener asked for that, it is out of patience, or it is
        interrupted."""
        return self.log.stopped or self.out_of_patience or self.interruption.reason is not None

    def steps(self) -> Iterator[tuple[Batch, ...]]:
        """Yield the batches of each step, the parts of which come one after the other, until the run ends.

        A signal that comes while data are awaited ends the run here, after the steps that were made are saved. So does,
        with its error, a fault of the data in one of the processes; the other processes then raise RunError.
        """
        steps = zip(*[iter(self.loader)] * self.config.accumulate)
        while not self.stopped:
            fault: PaaError | None = None
            parts = None
            try:
                with self.interruption.between_steps(), self.interruption.limit.measured("loading"):
                    parts = next(steps, None)
            except StoppedError:
                self.interruption.check()
                if self.state.step > self.first_step:
                    self.save_step()
                return
            except PaaError as error:
                fault = error
            if self.process.any(fault is not None):
                self._end_by(fault)
            if parts is None:
                return
            yield parts

    def _end_by(self, fault: PaaError | None) -> None:
        """Save the steps that were made, and raise a fault, in all processes; fault: None where it is another's."""
        said = next(filter(None, self.process.gather("" if fault is None else str(fault))))
        message = f"{said}{self.saved_before()}"
        raise (RunError(message) if fault is None else type(fault)(message)) from fault

    def saved_before(self) -> str:
        """Save the steps made since the start or the last resumption, if there are any, and say so for a message."""
        step = self.state.step
        if step > self.first_step:
            self.save_step()
            return f" (training step {step + 1}; {self.folder.last} holds the {step} before, --resume goes on)"
        return f" (training step {step + 1})"

    def save(self, path: Path) -> None:
        """Write a checkpoint of the run as it stands, in the first process."""
        if self.process.first:
            save_checkpoint(path, self.state.state_dict())

    def save_step(self) -> None:
        """Write last.pt, unless a weight is infinite or NaN (RunError), and add to left_out.txt what was left out.

        Every process must call it: before a validation all of them take the batch norm statistics that are saved.
        """
        state = self.state
        if state.validation_due:
            self.process.copy_from_first(state.evaluated.buffers())
        self.finite.before_saving(state.step, state.detector, state.evaluated)
        with self.interruption.limit.measured("saving"):
            if self.process.first:
                self.folder.keep_previous()
            self.save(self.folder.last)
        self.note_left_out(self.config.data.train_split, self.loader.left_out)

    def result(self) -> TrainResult:
        """Return where the checkpoints are, and the last numbers of the log, in every process."""
        folder, state = self.folder, self.state
        records = folder.records() if self.process.first else []
        validations = [record for record in records if "AP" in record]
        training = [record for record in records if "AP" not in record]
        known_to_first = (
            folder.best.exists(),
            training[-1] if training else None,
            validations[-1] if validations else None,
        )
        has_best, last_training, last_validation = self.process.gather(known_to_first)[0]
        return TrainResult(
            folder=folder.path,
            last=folder.last,
            best=folder.best if has_best else None,
            log=folder.log,
            step=state.step,
            stopped=self.stopped and self.unfinished,
            interrupted=self.interruption.reason is not None and self.unfinished,
            bad_steps=state.bad_steps,
            training=last_training,
            validation=last_validation,
        )
