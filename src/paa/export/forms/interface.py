"""What a form of exported files is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from paa.export.calibration import Calibration
from paa.export.description import Description
from paa.export.session import ExportedGraph
from paa.model.detector import Detector


class Write(Protocol):
    """Writes a detector, in float32 on the CPU, and its description, whole or not at all; the detector stays as it is.

    calibration: the images for INT8; None exports in float32. ConfigError for a detector that has no such form, or a
    package that is not installed.
    """

    def __call__(
        self, path: Path, detector: Detector, description: Description, calibration: Calibration | None
    ) -> None:
        """Write the file, and those beside it."""
        ...


class Open(Protocol):
    """Opens a file: CheckpointError if it is none of this form, is damaged, or of another program.

    cuda: compute on a GPU, where the form can. As many threads as torch has are used. ConfigError if a package is not
    installed.
    """

    def __call__(self, path: Path, *, cuda: bool = False) -> ExportedGraph:
        """Return the model in the file."""
        ...


@dataclass(frozen=True)
class Form:
    """One form of exported files.

    suffix: of the file's name; beside: suffixes of files that belong to it, which have its name otherwise. check:
    raises ConfigError, about a file, if what writing needs is not installed. resizes, int8: whether it can resize in
    the graph, and compute in INT8.
    """

    name: str
    suffix: str
    write: Write
    open: Open
    check: Callable[[Path], None]
    beside: tuple[str, ...] = ()
    resizes: bool = True
    int8: bool = False

    def files(self, path: Path) -> list[Path]:
        """Return every file of an exported model; the one that is opened is the last."""
        return [*(path.with_suffix(suffix) for suffix in self.beside), path]
