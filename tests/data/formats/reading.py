"""Reading a data set in one format, as `read_dataset` does when the format is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paa.data.formats.interface import Format, ReadRequest
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport
from paa.errors import DataError, MissingSplitError


def reader(format: Format) -> Callable[..., DatasetIndex]:
    """Return a function that reads a split: path, split, report, and the other fields of a request by name."""

    def read(path: Path, split: str = "train", report: ReadReport | None = None, **options: Any) -> DatasetIndex:
        return format.read(ReadRequest(path, split, **options), report or ReadReport())

    return read


def failure(read: Callable[..., DatasetIndex]) -> Callable[..., str]:
    """Return a function that reads a split that cannot be read, and returns the error's message, one line."""

    def fails(path: Path, kind: type[DataError] = DataError, split: str = "train", **options: Any) -> str:
        with pytest.raises(kind) as caught:
            read(path, split, **options)
        message = str(caught.value)
        assert type(caught.value) is kind or (kind is DataError and type(caught.value) is MissingSplitError)
        assert "\n" not in message
        assert str(path) in message
        return message

    return fails
