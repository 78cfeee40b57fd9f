"""What was found in images, as the rows of a table: the same columns in a worker, in Spark and in a Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paa.detections import Detections
from paa.errors import ConfigError
from paa.runtime.extras import not_installed

if TYPE_CHECKING:
    import pyarrow

COLUMNS = ("image", "width", "height", "x1", "y1", "x2", "y2", "score", "label", "name", "error")
"""The image's address and size, the box's corners in its pixels, its score, its class as a number and a name, and why
the image could not be read.

An image has a row for each detection. One without detections has one row, whose box, score and class are null; one that
cannot be read has one row in which all but `image` and `error` are null.
"""


@dataclass(frozen=True, eq=False)
class ImageResult:
    """An image's address, its (height, width) and its detections; or an error instead of both."""

    image: str
    size: tuple[int, int] = (0, 0)
    detections: Detections | None = None
    error: str | None = None


def to_table(results: Sequence[ImageResult]) -> pyarrow.Table:
    """Return the rows of images, in their order, with the columns of `COLUMNS`."""
    arrow = import_pyarrow()
    rows = [row for result in results for row in _rows(result)]
    columns = list(zip(*rows)) or [()] * len(COLUMNS)
    schema = arrow.schema(list(zip(COLUMNS, _types(arrow))))
    return arrow.Table.from_arrays(
        [arrow.array(column, kind) for column, kind in zip(columns, schema.types)], schema=schema
    )


def detections_of(table: pyarrow.Table) -> pyarrow.Table:
    """Return the rows of the images that were read, without the column of errors."""
    return table.filter(table["error"].is_null()).drop_columns(["error"])


def errors_of(table: pyarrow.Table) -> pyarrow.Table:
    """Return the images that could not be read: the columns image and error."""
    return table.filter(table["error"].is_valid()).select(["image", "error"])


def text_of(address: str) -> str:
    """Return an address as text for a table: what is invalid Unicode, as a local file's name may be, escaped."""
    return address.encode("utf-8", "backslashreplace").decode()


def import_pyarrow() -> Any:
    """Return the module pyarrow; ConfigError where it is not installed."""
    try:
        import pyarrow
    except ImportError as error:
        raise ConfigError(not_installed("pyarrow", "parquet")) from error
    return pyarrow


def _types(arrow: Any) -> list[Any]:
    return [arrow.string(), *[arrow.int32()] * 2, *[arrow.float32()] * 5, arrow.int64(), *[arrow.string()] * 2]


def _rows(result: ImageResult) -> list[tuple[Any, ...]]:
    image, found = text_of(result.image), result.detections
    if found is None:
        return [(image, *[None] * 9, text_of(result.error or ""))]
    about = (image, result.size[1], result.size[0])
    values = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist())
    rows = [(*about, *box, score, label, found.names[label], None) for box, score, label in values]
    return rows or [(*about, *[None] * 8)]
