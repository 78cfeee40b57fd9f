"""PyTorch, compiled ahead: one .pt2 file with machine code, for the kind of processor on which it was exported."""

from __future__ import annotations

import os
import shlex
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy.typing as npt
import torch

from paa.errors import CheckpointError, ConfigError, one_line
from paa.export.calibration import Calibration
from paa.export.description import INPUTS, KEY, Description, to_json
from paa.export.forms.interface import Form
from paa.export.graph import trace
from paa.export.processor import processor
from paa.export.quiet import quiet
from paa.export.session import ExportedGraph, read_description
from paa.model.detector import Detector
from paa.runtime.files import whole_file

_ENTRY = f"/extra/{KEY}.json"
"""The place of the description in the archive, in the folder that PyTorch's format keeps for others."""
_MOST = 2**22  # bytes of a description

_OPTIONS: dict[str, Any] = {"scalar_asserts": False}
"""Without checks of the shapes computed inside the graph, whose code names variables that it never declares (PyTorch
2.15). Threads are as many as torch has now: code for any number of them (`cpp.dynamic_threads`) took a third longer."""


def check(path: Path) -> None:
    """Raise ConfigError if there is no C++ compiler, which PyTorch calls."""
    command = shlex.split(os.environ.get("CXX", "g++"))
    if not command or shutil.which(command[0]) is None:
        raise ConfigError(
            f"{path}: compiling a model needs a C++ compiler, and {' '.join(command) or 'g++'} is not found: install "
            "g++, or name another in the environment variable CXX"
        )


def write(path: Path, detector: Detector, description: Description, calibration: Calibration | None = None) -> None:
    """Compile network and post-processing, in minutes; see `paa.export.forms.interface.Write`."""
    check(path)
    assert calibration is None
    assert not description.settings.resize
    program = trace(detector, description.settings)
    known = {"torch": torch.__version__, "processor": " ".join(sorted(processor()))}
    text = to_json(replace(description, provenance={**description.provenance, **known}))
    with TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as folder, whole_file(path) as temporary:
        package = Path(folder) / "model.pt2"  # PyTorch takes no other ending
        try:
            with quiet(), torch.no_grad():
                torch._inductor.aoti_compile_and_package(program, package_path=str(package), inductor_configs=_OPTIONS)
            with zipfile.ZipFile(package, "a") as archive:
                root = archive.namelist()[0].partition("/")[0]
                archive.writestr(root + _ENTRY, text)
            package.replace(temporary)
        except Exception as error:  # the compiler's errors have no common class
            raise ConfigError(
                f"{detector.config.backbone}: torch cannot compile it ahead ({one_line(error)})"
            ) from error


def open(path: Path, *, cuda: bool = False) -> ExportedGraph:
    """Return the model in a file, whose machine code is loaded into this program.

    See `paa.export.forms.interface.Open`. CheckpointError also where the file was compiled by another version of
    PyTorch, or for a processor with instructions that this one lacks.
    """
    description = read_description(path, _description(path), "a PyTorch package")
    by, needed = (description.provenance.get(name, "") for name in ("torch", "processor"))
    if by != torch.__version__:
        raise CheckpointError(
            f"{path}: compiled by torch {by}, and this is torch {torch.__version__}: export it again with this one"
        )
    if missing := set(needed.split()) - processor():
        raise CheckpointError(
            f"{path}: compiled for a processor with {', '.join(sorted(missing))}, which this one lacks: export it "
            "again on this machine"
        )
    if not _has_code(path):  # of which PyTorch 2.8 would crash
        raise CheckpointError(f"{path}: PyTorch cannot load it (it has no compiled code)")
    try:
        with quiet():
            package = torch._inductor.aoti_load_package(str(path))
    except Exception as error:  # errors of the loader are of many classes
        raise CheckpointError(f"{path}: PyTorch cannot load it ({one_line(error)})") from error

    def run(feed: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        with torch.no_grad():
            found = package(*(torch.from_numpy(feed[name]) for name in INPUTS))
        return [column.numpy() for column in found]

    return ExportedGraph(path, description, run)


def _description(path: Path) -> str | None:
    """Return what the archive says of itself; None if it says nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(_ENTRY) and entry.file_size <= _MOST:
                    return archive.read(entry).decode("utf-8", "replace")
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(f"{path}: damaged, or no PyTorch package ({one_line(error)})") from error
    return None


def _has_code(path: Path) -> bool:
    """Return whether an archive has a library of machine code, where PyTorch looks for it."""
    with zipfile.ZipFile(path) as archive:
        return any("/data/aotinductor/" in name and name.endswith(".so") for name in archive.namelist())


FORM = Form("PyTorch, compiled ahead", ".pt2", write, open, check, resizes=False)
