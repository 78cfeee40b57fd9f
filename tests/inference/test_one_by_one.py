"""How many detections are asked for in a part of an image, of a detector or of an exported one with a limit."""

from __future__ import annotations

import pytest

from paa.inference.one_by_one import limit_of_part


@pytest.mark.parametrize(
    ("most", "asked", "expected"),
    [(None, 10, 100), (None, 300, 300), (50, 50, 50), (50, 10, 50), (300, 10, 100), (50, 60, 60)],
)
def test_limits_of_parts(most: int | None, asked: int, expected: int) -> None:
    """What is asked for beyond a detector's limit is left to it, which refuses it."""
    assert limit_of_part(most, 100, asked) == expected
