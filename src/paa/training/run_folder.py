"""The folder of one training run: its configuration, log and checkpoints, no file of it ever half-written."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import torch
import torchvision

import paa
from paa.config import Recipe, to_dict
from paa.data.left_out import LEFT_OUT
from paa.errors import CheckpointError, RunError
from paa.runtime.elastic import lock_patience
from paa.runtime.files import (
    cannot_write,
    check_folder,
    copy_file,
    remove_temporaries,
    temporaries,
    whole_file,
    write_text,
)
from paa.runtime.folder_lock import LOCK, folder_lock
from paa.training.card import CardFacts, model_card
from paa.training.loggers.run_ids import FILE as RUN_IDS
from paa.training.records import Record
from paa.weights.files import read_file

Opened = TypeVar("Opened")

log = logging.getLogger("paa")


class RunFolder:
    """The files of one run: checkpoints, their metrics, configuration, recipe, model card, log, and what was left out.

    bad_steps: a folder for the batches of steps that were skipped. metrics_last, metrics_best: the numbers of the last
    validation, and of the one whose weights are in best.pt, in the form of `paa eval`'s metrics.json.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config, self.recipe, self.log = path / "config.json", path / "recipe.json", path / "log.jsonl"
        self.last, self.best, self.card = path / "last.pt", path / "best.pt", path / "README.md"
        self.previous = path / "previous.pt"
        self.metrics_last, self.metrics_best = path / "metrics_last.json", path / "metrics_best.json"
        self.left_out = path / LEFT_OUT
        self.bad_steps = path / "bad_steps"
        self._held = ExitStack()
        self._locked = False

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._locked = False
        self._held.__exit__(kind, error, traceback)  # which learn of the error: the loggers tell it on

    def keep_open(self, opened: AbstractContextManager[Opened]) -> Opened:
        """Enter a context that lasts as long as the folder's own, and return the value it yields."""
        return self._held.enter_context(opened)

    def lock(self) -> None:
        """Let no other process write here until the folder's context ends; RunError if one does already.

        Where machines come and go, a process of one that was cut off gets the time to end.
        """
        if not self._locked:
            check_folder(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            self.keep_open(folder_lock(self.path, lock_patience()))
            self._locked = True

    def check_empty(self) -> None:
        """Raise RunError unless a new run can be written here: the folder is missing, or empty but for a lock."""
        check_folder(self.path)
        if self.path.exists() and any(path.name != LOCK for path in self.path.iterdir()):
            resumes = ", or --resume to resume its run" if self.config.exists() else ""
            raise RunError(f"{self.path}: exists and is not empty; give another --output{resumes}")

    def checkpoint_to_resume(self) -> Path | None:
        """Return the run's last checkpoint; None if it has not saved one yet, so that it starts at its first step.

        If that is damaged or missing, the one before it, with a warning. RunError if a checkpoint was saved and is
        missing now, also that of a finished run, or if the folder's files are not those of a run.
        """
        if not self.last.exists() and self.previous.exists() and self._is_finished():
            raise RunError(
                f"{self.last}: no such file, but the run is finished: put it back, or go on from the checkpoint before "
                f"it with --resume {self.previous}"
            )
        if self.previous.exists() and (damage := _damage(self.last)) and not _damage(self.previous):
            log.warning(f"{damage}; the run goes on from {self.previous}, which was saved before it")
            return self.previous
        if self.last.exists():
            return self.last
        config = _read_json(self.config) if self.config.exists() else None
        if self.config.exists() and not (isinstance(config, dict) and "recipe" in config):
            raise RunError(
                f"{self.config}: is not the configuration of a training run, and would be overwritten; "
                "give another --output"
            )
        if self.best.exists():
            raise RunError(
                f"{self.last}: no such file, but {self.best.name} exists: resume from that with "
                f"--resume {self.best}, or start a new run with another --output"
            )
        step = max((record["step"] for record in self.records()), default=0)
        first = config.get("first_checkpoint") if isinstance(config, dict) else None
        saved_from = first if isinstance(first, int) else 1
        # the log has that step a moment before it is saved; but a finished run whose checkpoint was moved is left alone
        killed_at_first_save = step == first and (_steps(config) != first or temporaries(self.path, [self.last.name]))
        if step >= saved_from and not killed_at_first_save:
            raise RunError(
                f"{self.last}: no such file, but {self.log.name} goes up to step {step}: put the checkpoint back, or "
                "start a new run with another --output"
            )
        written = (self.recipe, self.log, self.card, self.metrics_last, self.metrics_best, self.left_out)
        if config is None and (others := [file for file in written if file.exists()]):
            raise RunError(
                f"{others[0]}: is of no training run, as {self.config.name} is not there, and would be overwritten; "
                "give another --output"
            )
        return None

    def check_last(self, checkpoint: Path, step: int) -> None:
        """Raise RunError where a run would go on from an earlier checkpoint than its last, and lose what came after.

        checkpoint: of this folder. step: its step.
        """
        if checkpoint.name != self.last.name and self.last.exists() and (later := _step_of(self.last)) > step:
            raise RunError(
                f"{self.last}: is of step {later}, later than {checkpoint.name}, and would be overwritten; --resume "
                "without a file goes on from it, and another --output leaves it"
            )

    def _is_finished(self) -> bool:
        """Return whether the log has the last step of the run."""
        steps = _steps(_read_json(self.config)) if self.config.exists() else None
        return isinstance(steps, int) and any(record["step"] >= steps for record in self.records())

    def clean(self) -> None:
        """Remove the files that a killed process left half-written; only the process that holds the lock may."""
        files = [self.config, self.recipe, self.log, self.last, self.previous, self.best]
        files += [self.card, self.metrics_last, self.metrics_best, self.path / RUN_IDS]
        remove_temporaries(self.path, [file.name for file in files])

    def keep_previous(self) -> None:
        """Keep the last checkpoint, before a new one takes its name, for the case that the new one is damaged."""
        if self.last.exists():
            copy_file(self.last, self.previous)

    def set_damaged_aside(self) -> None:
        """Give the last checkpoint, if it is damaged, another name, so that it is not kept as the previous one."""
        if self.last.exists() and _damage(self.last):
            self.last.replace(self.path / "damaged.pt")

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the resolved configuration, with the versions and the git state of the code that runs."""
        write_text(self.config, json.dumps({**config, "environment": environment()}, indent=2) + "\n")

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the recipe of the run, from which `--recipe` starts the same run again."""
        write_text(self.recipe, json.dumps(to_dict(recipe), indent=2) + "\n")

    def write_card(self, facts: CardFacts, step: int) -> None:
        """Write the model card, with the numbers of the log so far; step: of last.pt."""
        write_text(self.card, model_card(facts, step, self.records(), self.metrics()))

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write the numbers of a validation as those of the last one."""
        write_text(self.metrics_last, json.dumps(metrics, indent=2) + "\n")

    def keep_best_metrics(self) -> None:
        """Keep the numbers of the last validation as those of best.pt."""
        if self.metrics_last.exists():
            write_text(self.metrics_best, self.metrics_last.read_text(encoding="utf-8"))

    def metrics(self) -> dict[str, Any]:
        """Return the numbers of the validation of best.pt, or of the last one without it; {} without any."""
        chosen = self.metrics_best if self.best.exists() else self.metrics_last
        values = _read_json(chosen)
        return values if isinstance(values, dict) else {}

    def results(self) -> list[Path]:
        """Return the files that say what a run did, and the checkpoint to use."""
        checkpoint = self.best if self.best.exists() else self.last
        files = (self.card, self.recipe, self.config, self.log, self.metrics_best, self.metrics_last, checkpoint)
        return [file for file in files if file.exists()]

    def append(self, record: Record) -> None:
        """Append one line to the log; RunError if it cannot be written."""
        try:
            with self.log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(record) + "\n")
        except OSError as error:
            raise cannot_write(self.log, error) from error

    def records(self) -> list[Record]:
        """Return the log's records; lines that a power cut left incomplete are skipped."""
        if not self.log.exists():
            return []
        lines = [_parsed(line) for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines()]
        return [line for line in lines if isinstance(line, dict) and isinstance(line.get("step"), int)]

    def forget_after(self, step: int, validated: bool = True) -> list[Record]:
        """Drop the log's records after `step`, which a resumed run writes again; return those of `step` itself.

        validated: whether the validation of that step is finished, so that its record stays.
        """
        kept = [r for r in self.records() if r["step"] < step or (r["step"] == step and (validated or "AP" not in r))]
        if self.log.exists():
            write_text(self.log, "".join(json.dumps(record) + "\n" for record in kept))
        return [record for record in kept if record["step"] == step]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _read_json(path: Path) -> Any:
    try:
        return _parsed(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def _steps(config: Any) -> Any:
    """Return how many steps a run has by its configuration; None if that does not say."""
    schedule = config.get("schedule") if isinstance(config, dict) else None
    return schedule.get("steps") if isinstance(schedule, dict) else None


def _damage(checkpoint: Path) -> str | None:
    """Return why a checkpoint cannot be read; None if it can."""
    try:
        read_file(checkpoint)
    except CheckpointError as error:
        return str(error)
    return None


def _step_of(checkpoint: Path) -> int:
    """Return the step of a run's checkpoint; 0 if it cannot be read."""
    try:
        training = read_file(checkpoint).values.get("training")
    except CheckpointError:
        return 0
    return training.get("step", 0) if isinstance(training, dict) else 0


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint, completely or not at all, also in a power cut; RunError on a full disk.

    What was written is read again before it takes its name: RunError if its check sums do not agree.
    """
    # an open file, not a path: then the bytes do not depend on the temporary name, and the system's error is not lost
    with whole_file(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)
        file.flush()
        _verify(temporary, path)


def _verify(written: Path, path: Path) -> None:
    try:
        with zipfile.ZipFile(written) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        damaged = str(error)
    if damaged is not None:
        raise RunError(f"{path}: was not written as it should be ({damaged}): the disk or the memory may be faulty")


def environment() -> dict[str, Any]:
    """Return the versions, the machine and the git state of the code that runs."""
    source = Path(__file__).parent
    ours = bool(_git(source, "ls-files", Path(__file__).name))  # not a repository in which we are merely installed
    return {
        "paa": paa.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "git_commit": _git(source, "rev-parse", "HEAD") if ours else None,
        "git_changed_files": (_git(source, "status", "--porcelain") or "").splitlines() if ours else None,
        "command": sys.argv,
    }


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        # without optional locks: `git status` would hold the index for a moment, where a person may be committing
        command = ["git", "--no-optional-locks", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
