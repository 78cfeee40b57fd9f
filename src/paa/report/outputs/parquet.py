"""The output `parquet`: detections.parquet with a row for each detection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paa.errors import ConfigError
from paa.report.outputs.entry import Entry, Write
from paa.report.outputs.rows import COLUMNS, rows_of
from paa.runtime.extras import not_installed
from paa.runtime.files import whole_file

_ROWS = 50_000  # rows in memory before they are written


@contextmanager
def parquet_rows(folder: Path, names: tuple[str, ...]) -> Iterator[Write]:
    """Yield what adds an image's rows to detections.parquet, which is there when all is written, or not at all.

    A Parquet file cannot be read before its end is written. ConfigError if pyarrow is not installed.
    """
    arrow, parquet = _pyarrow()
    image = [arrow.string(), arrow.int64(), arrow.float64(), *[arrow.int32()] * 2]
    types = [*image, *[arrow.float32()] * 5, arrow.int64(), arrow.string()]
    schema = arrow.schema(list(zip(COLUMNS, types)))
    rows: list[tuple[Any, ...]] = []
    with whole_file(folder / "detections.parquet") as temporary, parquet.ParquetWriter(temporary, schema) as writer:

        def flush() -> None:
            if rows:
                columns = [arrow.array(column, kind) for column, kind in zip(zip(*rows), types)]
                writer.write_table(arrow.Table.from_arrays(columns, schema=schema))
                rows.clear()

        def write(entry: Entry) -> None:
            rows.extend(rows_of(entry))
            if len(rows) >= _ROWS:
                flush()

        yield write
        flush()


def wrote(folder: Path) -> bool:
    """Return whether detections.parquet has a prediction's columns."""
    _, parquet = _pyarrow()
    try:
        return tuple(parquet.read_schema(folder / "detections.parquet").names) == COLUMNS
    except (OSError, ValueError):
        return False


def check_pyarrow() -> None:
    """Raise ConfigError if pyarrow is not installed."""
    _pyarrow()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(f"--save parquet: {not_installed('pyarrow', 'parquet')}") from error
    return pyarrow, pyarrow.parquet
