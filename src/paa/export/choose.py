"""The forms of exported models, told apart by the suffix of a file's name."""

from __future__ import annotations

from pathlib import Path

from paa.errors import CheckpointError, ConfigError
from paa.export.forms import compiled, onnx, openvino
from paa.export.forms.interface import Form
from paa.export.session import ExportedGraph
from paa.runtime.urls import nothing_at

FORMS = {form.suffix: form for form in (onnx.FORM, openvino.FORM, compiled.FORM)}
"""All forms by their suffix; add a new form here."""


def is_exported(path: Path) -> bool:
    """Return whether a file's name is that of an exported model."""
    return path.suffix.lower() in FORMS


def form_of(path: Path) -> Form:
    """Return the form that a file is to have; ConfigError, which lists the forms, for the name of another file."""
    if not is_exported(path):
        forms = ", ".join(f"{suffix} ({form.name})" for suffix, form in FORMS.items())
        raise ConfigError(f"{path}: the ending of its name says the form of the exported model; known: {forms}")
    return FORMS[path.suffix.lower()]


def open_exported(path: Path, *, cuda: bool = False) -> ExportedGraph:
    """Return the exported model in a file; errors and arguments are those of `paa.export.forms.interface.Open`."""
    if not path.is_file():
        raise CheckpointError(nothing_at(path, "file") if not path.is_dir() else f"{path}: a folder, not a file")
    return form_of(path).open(path, cuda=cuda)
