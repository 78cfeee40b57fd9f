"""Single values of a COCO file, also in the other forms that tools write them in."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from paa.data.formats.coco.columns import LARGEST_SIZE

_WHOLE = re.compile(r"\s*([+-]?[0-9]{1,30})(?:\.0*)?\s*", re.ASCII)


class WrongValueError(Exception):
    """A value that cannot be used, in words that follow the name of its record."""


def whole_number(entry: dict[str, Any], key: str) -> int:
    """Return a whole number that fits int64, also one that is text or written as 1.0. Raises WrongValueError."""
    value = entry.get(key)
    if isinstance(value, str) and (match := _WHOLE.fullmatch(value)):
        value = int(match[1])
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if -(1 << 63) <= value < 1 << 63:
            return value
        raise WrongValueError(f"has {key} {shown(value)}, which does not fit int64")
    raise WrongValueError(f"has {key} {shown(value)}, which is not a whole number" if key in entry else f"has no {key}")


def side(entry: dict[str, Any], key: str) -> int:
    """Return the height or width of an image, 0 where none is given. Raises WrongValueError."""
    if entry.get(key) is None:
        return 0
    length = whole_number(entry, key)
    if not 0 <= length <= LARGEST_SIZE:
        raise WrongValueError(f"has {key} {length}")
    return length


def crowd(value: object) -> int:
    """Return `iscrowd` as 0 or 1; 0 where it is not given. Raises WrongValueError."""
    if value is None:
        return 0
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return int(value)
    if isinstance(value, str) and value.strip() in ("0", "1"):
        return int(value)
    raise WrongValueError(f"has iscrowd {shown(value)}, which is neither 0 nor 1")


def area(value: object) -> tuple[float, bool]:
    """Return an area, NaN where it is not given or wrong, and whether it is wrong."""
    if value is None:
        return math.nan, False
    number = real_number(value)
    return (number, False) if number is not None and 0 <= number < math.inf else (math.nan, True)


def real_number(value: object) -> float | None:
    """Return a number, also one that is text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def shown(value: object) -> str:
    """Return a value as its file has it, cut short, for a message."""
    try:
        text = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
