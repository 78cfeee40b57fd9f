"""Weights & Biases: a run there, or in files to upload later (`WANDB_MODE=offline`).

`WANDB_PROJECT`, `WANDB_ENTITY`, `WANDB_NAME` and the tool's other environment variables say where it goes.
"""

from __future__ import annotations

import glob
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paa.errors import RunError, one_line
from paa.training.loggers.interface import LoggedRun
from paa.training.loggers.run_ids import keep_id, known_id

if TYPE_CHECKING:
    from wandb import Run

log = logging.getLogger("paa")

NAME = "wandb"
_PROJECT = "paa"
_ENVIRONMENT = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
"""What the tool is told unless the environment says something else: no reports to its makers, and no lines."""


class WandbRun:
    """Writes to one run of Weights & Biases; its own process sends the numbers, also after an outage."""

    def __init__(self, run: Run, folder: Path) -> None:
        self._run, self._folder = run, folder
        self._first_step = run.step  # of a run that is resumed: what it has, it does not take again

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a step, but for steps that the run had before it was stopped."""
        if step >= self._first_step:
            self._run.log(dict(values), step=step)

    def picture(self, step: int, name: str, path: Path) -> None:
        """Write a picture, but for steps that the run had before it was stopped."""
        import wandb

        if step >= self._first_step:
            self._run.log({name: wandb.Image(str(path))}, step=step)

    def files(self, paths: Sequence[Path]) -> None:
        """Save files with the run."""
        for path in paths:
            self._run.save(glob.escape(str(path)), base_path=str(self._folder), policy="now")

    def close(self, error: BaseException | None) -> None:
        """End the run, as failed where something stopped it."""
        self._run.finish(exit_code=0 if error is None else 1)


def open_wandb(run: LoggedRun) -> WandbRun:
    """Open a run of Weights & Biases, the same one again where a run is resumed; RunError where that fails."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import wandb

    run_id = os.environ.get("WANDB_RUN_ID") or known_id(run.folder, NAME) or secrets.token_hex(4)
    try:
        opened = wandb.init(
            id=run_id,
            resume="allow",
            project=os.environ.get("WANDB_PROJECT") or _PROJECT,
            name=os.environ.get("WANDB_NAME") or run.folder.name,
            dir=os.environ.get("WANDB_DIR") or str(run.folder),
            config=dict(run.parameters),
            allow_val_change=True,  # a resumed run may be longer
            # the terminal is the person's, and code of theirs is not ours to send
            settings=wandb.Settings(console="off", save_code=False),
        )
    except (wandb.Error, OSError) as error:
        raise RunError(
            f"wandb: {one_line(error)}; run wandb login, or set WANDB_MODE=offline, or train without it: "
            "--loggers tensorboard"
        ) from error
    keep_id(run.folder, NAME, run_id)
    if opened.url:
        log.info(f"wandb: {opened.url}")
    else:
        folder = Path(opened.dir).parent
        log.info(f"wandb: offline, in {folder}; wandb sync {folder} uploads it")
    return WandbRun(opened, run.folder)
