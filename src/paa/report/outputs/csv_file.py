"""The output `csv`: detections.csv with a row for each detection."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

from paa.inference.earlier import begins
from paa.report.outputs.entry import Write
from paa.report.outputs.rows import COLUMNS, rows_of
from paa.runtime.files import cannot_write

_HEAD = re.compile(re.escape(",".join(COLUMNS)).encode() + rb"\r?\n")


def wrote(folder: Path) -> bool:
    """Return whether detections.csv has a prediction's columns."""
    return begins(folder / "detections.csv", _HEAD)


@contextmanager
def csv_rows(folder: Path, names: tuple[str, ...]) -> Iterator[Write]:
    """Yield what adds an image's rows to detections.csv, which has whole images only at any time."""
    path = folder / "detections.csv"
    with path.open("w", encoding="utf-8", newline="") as file:

        def add(rows: list[tuple[object, ...]]) -> None:
            text = StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            end = file.tell()
            try:
                file.write(text.getvalue())
                file.flush()
            except OSError as error:
                file.truncate(end)
                raise cannot_write(path, error) from error

        add([COLUMNS])
        yield lambda entry: add(rows_of(entry))
