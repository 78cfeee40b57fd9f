"""Opening the loggers that a person chose, and closing them whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from paa.config import LoggerName
from paa.errors import ConfigError
from paa.runtime.extras import not_installed
from paa.training.loggers.interface import LoggedRun, RunLogger
from paa.training.loggers.mlflow import open_mlflow
from paa.training.loggers.outages import OutageTolerant
from paa.training.loggers.tensorboard import open_tensorboard
from paa.training.loggers.wandb import open_wandb

_REMOTE: dict[str, Callable[[LoggedRun], RunLogger]] = {"mlflow": open_mlflow, "wandb": open_wandb}
"""The loggers that may have a server: the run goes on where this is away."""


def check_loggers(names: Sequence[LoggerName]) -> None:
    """Raise ConfigError for a logger whose package is missing; TensorBoard, the default, may be missing."""
    for name in names:
        if name in _REMOTE and find_spec(name) is None:
            raise ConfigError(f"--loggers {name}: {not_installed(name, name)}")


@contextmanager
def open_loggers(names: Sequence[LoggerName], run: LoggedRun) -> Iterator[list[RunLogger]]:
    """Open loggers, and yield them; RunError, with nothing written to the run's folder, where one cannot be opened.

    TensorBoard's files come last, so that no other logger can fail after they exist.
    """
    opened: list[RunLogger] = []
    stopped: BaseException | None = None
    try:
        for name in dict.fromkeys(names):
            if name in _REMOTE:
                opened.append(OutageTolerant(name, _REMOTE[name](run)))
        if "tensorboard" in names and (board := open_tensorboard(run)) is not None:
            opened.append(board)
        yield opened
    except BaseException as error:
        stopped = error
        raise
    finally:
        for logger in reversed(opened):
            logger.close(stopped)
