"""The folder of one training run: its settings, its log, its checkpoints; nothing in it is ever half-written."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import torchvision

import paa
from paa.atomic import whole_file
from paa.errors import RunError


class RunFolder:
    """config.json, log.jsonl, tensorboard/, last.pt and best.pt of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config, self.log = path / "config.json", path / "log.jsonl"
        self.last, self.best, self.tensorboard = path / "last.pt", path / "best.pt", path / "tensorboard"

    def create(self) -> None:
        """Make the folder; RunError if it cannot be made, or is there with something in it."""
        check_folder(self.path)
        if self.path.exists() and any(self.path.iterdir()):
            raise RunError(f"{self.path}: exists and is not empty; give another --output, or --resume to go on with it")
        self.path.mkdir(parents=True, exist_ok=True)

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the resolved configuration, with the versions and the git state it ran under."""
        write_text(self.config, json.dumps({**config, "environment": environment()}, indent=2) + "\n")

    def append(self, record: dict[str, Any]) -> None:
        """Append one line to the log."""
        with self.log.open("a") as log:
            log.write(json.dumps(record) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop the log's lines after `step`, which a resumed run writes again."""
        if self.log.exists():
            lines = [line for line in self.log.read_text().splitlines() if line.endswith("}")]
            kept = [line for line in lines if json.loads(line).get("step", 0) <= step]
            write_text(self.log, "".join(line + "\n" for line in kept))


def check_folder(path: Path) -> None:
    """Raise RunError unless `path` is a folder, or can be made one, and can be written to; nothing is made."""
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise RunError(f"{path}: nothing can be written there: {there} is not a folder one can write to")


def write_text(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint so that it is there whole or not at all, also after a power cut."""
    with whole_file(path) as temporary:
        torch.save(content, temporary)


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
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
