"""Each class's best score threshold, read from the metrics.json of an earlier evaluation."""

from __future__ import annotations

from pathlib import Path

import msgspec

from paa.errors import DataError, one_line
from paa.runtime.urls import nothing_at


class _Point(msgspec.Struct):
    threshold: float


class _Class(msgspec.Struct):
    point: _Point | None


class _Metrics(msgspec.Struct):
    operating_points: dict[str, _Class]


def read_thresholds(path: Path) -> dict[str, float]:
    """Return the threshold of each class's operating point; classes of which no object was found have none.

    path: metrics.json of `paa eval --output`. DataError for another file.
    """
    try:
        metrics = msgspec.json.decode(path.read_bytes(), type=_Metrics)
    except FileNotFoundError:
        raise DataError(nothing_at(path, "file")) from None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not the metrics.json that paa eval --output writes: {one_line(error)}") from error
    return {name: entry.point.threshold for name, entry in metrics.operating_points.items() if entry.point is not None}
