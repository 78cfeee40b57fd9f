"""Where the records of a run go: log.jsonl, TensorBoard's files if it is installed, and the listener."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from paa.runtime.extras import not_installed
from paa.runtime.files import cannot_write
from paa.training.records import Listener, Record, ignore
from paa.training.run_folder import RunFolder
from paa.training.state import TrainingState

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger("paa")


@contextmanager
def open_log(run: RunFolder, state: TrainingState, listener: Listener) -> Iterator[Listener]:
    """Open a run's log at the step of `state`, and yield the function that writes a record everywhere.

    That function returns what the listener returns. Records of steps that a resumed run will repeat are dropped first,
    from the log and in TensorBoard.
    """
    kept = run.forget_after(state.step, validated=not state.validation_due)
    with _open_board(run, state) as show:

        def write(record: Record) -> object:
            run.append(record)
            show(record)
            return listener(record)

        for record in kept:
            show(record)
        yield write


def _open_board(run: RunFolder, state: TrainingState) -> AbstractContextManager[Listener]:
    """Return a context that yields a function writing records to TensorBoard's files; without it, doing nothing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning(f"{run.log} alone is written: {not_installed('tensorboard', 'tensorboard')}")
        return nullcontext(ignore)
    return _board(SummaryWriter, run, state)


@contextmanager
def _board(writer: type[SummaryWriter], run: RunFolder, state: TrainingState) -> Iterator[Listener]:
    """Open TensorBoard's files, and yield the function that writes a record to them; RunError if that fails."""
    hook = threading.excepthook
    threading.excepthook = partial(_board_hook, hook)
    try:
        with _board_errors(run):
            board = writer(run.tensorboard, purge_step=state.step)  # hides the points from this step on
    except BaseException:
        threading.excepthook = hook
        raise

    def show(record: Record) -> None:
        with _board_errors(run):
            for name, value in record.items():
                if name not in ("step", "steps") and value is not None:
                    board.add_scalar(name.replace("loss_", "loss/"), value, record["step"])
            board.flush()

    try:
        yield show
    finally:
        try:
            board.close()
        except OSError as error:  # the checkpoints and log.jsonl are whole
            log.warning(f"{cannot_write(run.tensorboard, error)}: its last lines may be missing")
        threading.excepthook = hook


@contextmanager
def _board_errors(run: RunFolder) -> Iterator[None]:
    """Turn the system's errors with TensorBoard's files into RunError."""
    try:
        yield
    except OSError as error:
        raise cannot_write(run.tensorboard, error) from error


def _board_hook(hook: Callable[[threading.ExceptHookArgs], object], args: threading.ExceptHookArgs) -> None:
    """Print no error of TensorBoard's writing thread: the thread keeps it, and the next flush raises it again."""
    if not (isinstance(args.exc_value, OSError) and type(args.thread).__module__.startswith("tensorboard.")):
        hook(args)
