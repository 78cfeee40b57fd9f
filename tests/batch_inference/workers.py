"""Detectors and programs that are killed in the midst of their work, importable by the processes that they run in."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from paa.batch_inference.detector import BatchDetector, Item
from paa.batch_inference.output_folder import OutputFolder
from paa.batch_inference.run import detect_in_shards
from paa.batch_inference.tables import ImageResult


@dataclass(frozen=True)
class KilledDetector(BatchDetector):
    """Notes its process in the folder `notes`, and has it killed at an image of this name: once, or `always`.

    No process begins its work before as many as `together` have noted themselves.
    """

    notes: Path = Path()
    at: str = ""
    always: bool = False
    together: int = 1

    def results(self, items: Iterable[Item]) -> Iterator[ImageResult]:
        (self.notes / f"process-{os.getpid()}").touch()
        deadline = time.monotonic() + 60
        while len(list(self.notes.glob("process-*"))) < self.together and time.monotonic() < deadline:
            time.sleep(0.01)
        for result in super().results(items):
            if Path(result.image).name == self.at and (self.always or not (self.notes / "killed").exists()):
                (self.notes / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield result


def run_and_die(detector: BatchDetector, images: list[str], output: str, shard_size: int) -> None:
    """Begin a batch inference in two processes, and be killed when the first shard is finished."""

    def die(count: int) -> None:
        if count:
            os.kill(os.getpid(), signal.SIGKILL)

    detect_in_shards(detector, images, OutputFolder(output), workers=2, shard_size=shard_size, listen=die)
