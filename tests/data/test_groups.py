"""Groups of images that stay together."""

from __future__ import annotations

import numpy as np
import pytest

from paa.data.groups import by_name, joined
from paa.errors import ConfigError
from tests.data.test_validation_split import named


def groups_of(*names: str, pattern: str | None = None) -> list[int]:
    return joined(len(names), by_name(named(*names), pattern)).tolist()


def test_images_are_alone_by_default() -> None:
    assert groups_of("a.jpg", "b.jpg", "x/a.jpg") == [0, 1, 2]


def test_copies_by_roboflow_stay_together() -> None:
    assert groups_of("a_jpg.rf.1f.jpg", "b.jpg", "a_jpg.rf.2e.jpg", "c_jpg.rf.1f.jpg") == [0, 1, 0, 2]


def test_a_pattern_of_names() -> None:
    names = ("s1/f01.jpg", "s2/f01.jpg", "s1/f02.jpg", "other.jpg", "more.jpg")
    assert groups_of(*names, pattern=r"^(s\d)/") == [0, 1, 0, 2, 3]
    assert groups_of(*names, pattern=r"(f\d+)") == [0, 0, 1, 2, 3]
    assert groups_of(*names, pattern=r"(s\d)/f0(1)") == [0, 1, 2, 3, 4]  # both groups count
    assert groups_of(*names, pattern=r"(s)") == [0, 0, 0, 1, 2]


def test_patterns_that_cannot_be_used() -> None:
    for pattern, message in (
        ("(", r"'\(': not a regular expression: missing \)"),
        ("s1", "'s1': has no group; put what a scene's images share in"),
        ("(t)", r"'\(t\)': is found in no image's name, such as s1/f01"),
    ):
        with pytest.raises(ConfigError, match=message):
            groups_of("s1/f01", pattern=pattern)


def test_links_are_followed() -> None:
    assert joined(0, []).tolist() == []
    assert joined(6, [(4, 2), (1, 0), (5, 4)]).tolist() == [0, 0, 1, 2, 1, 1]
    random = np.random.default_rng(0)
    for _ in range(20):
        links = random.integers(0, 30, (20, 2)).tolist()
        groups = joined(30, links)
        reached = np.eye(30, dtype=bool)
        for a, b in links:
            reached[a, b] = reached[b, a] = True
        for _ in range(30):
            reached = reached @ reached
        assert (reached == (groups[:, None] == groups)).all()
        assert groups[0] == 0
        assert (np.diff(np.unique(groups)) == 1).all()
