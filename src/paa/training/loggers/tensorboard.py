"""TensorBoard: its event files in the run's folder."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from paa.runtime.extras import not_installed
from paa.runtime.files import cannot_write
from paa.training.loggers.interface import LoggedRun, scalars_of

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger("paa")

FOLDER = "tensorboard"


class TensorBoard:
    """Writes a run's numbers to event files; RunError where the disk is full, as for the run's other files."""

    def __init__(self, writer: type[SummaryWriter], run: LoggedRun) -> None:
        self._folder = run.folder / FOLDER
        self._hook = threading.excepthook
        threading.excepthook = partial(_quiet_hook, self._hook)
        try:
            with self._errors():
                self._board = writer(self._folder, purge_step=run.step)  # hides the points from this step on
            for record in run.kept:
                self.scalars(record["step"], scalars_of(record))
        except BaseException:
            threading.excepthook = self._hook
            raise

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a step."""
        with self._errors():
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()

    def picture(self, step: int, name: str, path: Path) -> None:
        """Write a picture."""
        with Image.open(path) as image, self._errors():
            self._board.add_image(name, np.asarray(image), step, dataformats="HWC")
            self._board.flush()

    def files(self, paths: Sequence[Path]) -> None:
        """Do nothing: the files are in the run's folder, beside the event files."""

    def close(self, error: BaseException | None) -> None:
        """Close the event files."""
        try:
            self._board.close()
        except OSError as failure:  # the checkpoints and log.jsonl are whole
            log.warning(f"{cannot_write(self._folder, failure)}: its last lines may be missing")
        threading.excepthook = self._hook

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the system's errors with the event files into RunError."""
        try:
            yield
        except OSError as error:
            raise cannot_write(self._folder, error) from error


def open_tensorboard(run: LoggedRun) -> TensorBoard | None:
    """Open the event files of a run; without TensorBoard None, and a line that says so, as it is on by default."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning(f"no curves are written to {run.folder / FOLDER}: {not_installed('tensorboard', 'tensorboard')}")
        return None
    return TensorBoard(SummaryWriter, run)


def _quiet_hook(hook: Callable[[threading.ExceptHookArgs], object], args: threading.ExceptHookArgs) -> None:
    """Print no error of TensorBoard's writing thread: the thread keeps it, and the next flush raises it again."""
    if not (isinstance(args.exc_value, OSError) and type(args.thread).__module__.startswith("tensorboard.")):
        hook(args)
