"""The name under which a report shows an image."""

from __future__ import annotations

from paa.data.index import DatasetIndex
from paa.data.read_report import printable


def file_name(index: DatasetIndex, image: int) -> str:
    """Return an image's file name, relative to the data set's folder, in characters that can be printed."""
    return printable(bytes(index.file_names[image]).decode("utf-8", "surrogateescape"))
