"""Where the records of a run go: log.jsonl, the loggers that a person chose, and the listener."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from paa.config import LoggerName
from paa.explanation.history import History
from paa.training.loggers.interface import LoggedRun, scalars_of
from paa.training.loggers.open import open_loggers
from paa.training.records import Listener, Record
from paa.training.run_folder import RunFolder
from paa.training.state import TrainingState


@contextmanager
def open_log(
    run: RunFolder,
    state: TrainingState,
    listener: Listener,
    loggers: Sequence[LoggerName] = (),
    parameters: Mapping[str, object] | None = None,
) -> Iterator[Listener]:
    """Open a run's log at the step of `state`, and yield the function that writes a record everywhere.

    That function returns what the listener returns. Records of steps that a resumed run will repeat are dropped first,
    those of the assignment too. parameters: what the loggers show of the run, see `LoggedRun`. Where the run ends
    without an error, they get its files.
    """
    kept, history = run.forget_after(state.step, validated=not state.validation_due), History(run.path)
    history.forget_after(state.step)
    with open_loggers(loggers, LoggedRun(run.path, parameters or {}, state.step, kept)) as opened:

        def write(record: Record) -> object:
            run.append(record)
            values = scalars_of(record)
            picture = history.picture(record["step"])
            for logger in opened:
                logger.scalars(record["step"], values)
                if "assignment_positives" in record and picture.exists():
                    logger.picture(record["step"], "assignment", picture)
            return listener(record)

        yield write
        for logger in opened:
            logger.files(run.results())
