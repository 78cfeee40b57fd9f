"""Images that are in a data set more than once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from paa.inspection import duplicates
from paa.inspection.duplicates import Seen, duplicate_problems
from paa.inspection.images import ImageFacts, Looks


def looks(seed: int, changed: int = 0, share: float = 0.5) -> Looks:
    """Return random bits, of which the first `changed` are turned over."""
    bits = np.random.default_rng(seed).random(256) < share
    bits[:changed] ^= True
    return bits


def seen(split: str, name: str, content: str | None, bits: Looks | None = None, number: int = 1) -> Seen:
    return Seen(split, Path(name), number, ImageFacts(None if content is None else content.encode(), bits))


def found(*images: Seen) -> list[tuple[str, str, str | None]]:
    return [(problem.kind.name, str(problem.image), problem.other) for problem in duplicate_problems(images)]


def test_equal_content_within_a_split_and_in_another() -> None:
    images = [
        seen("train", "a", "x"),
        seen("train", "b", "x"),
        seen("train", "c", "y"),
        seen("val", "d", "x"),
        seen("val", "e", "z"),
        seen("val", "f", "z"),
        seen("test", "g", "z"),
    ]
    assert found(*images) == [
        ("duplicate", "b", "a"),
        ("leak", "d", "a"),
        ("duplicate", "f", "e"),
        ("leak", "g", "e"),
    ]


def test_another_split_is_named_before_its_own() -> None:
    images = [seen("train", "a", "x"), seen("val", "b", "x"), seen("val", "c", "x")]
    assert found(*images) == [("leak", "b", "a"), ("leak", "c", "a")]


def test_images_that_cannot_be_read_are_equal_to_none() -> None:
    assert found(seen("train", "a", None), seen("val", "b", None)) == []


def test_the_same_file_in_two_splits() -> None:
    (problem,) = duplicate_problems([seen("train", "a", "x"), seen("val", "a", "x")])
    assert problem.message == "a: is an image of train too"


def test_similar_images() -> None:
    images = [
        seen("train", "a", "1", looks(0)),
        seen("train", "b", "2", looks(1)),
        seen("train", "c", "3", looks(0, 10)),
        seen("val", "d", "4", looks(0, 9)),
        seen("val", "e", "5", looks(2)),
        seen("val", "f", "6", looks(0, 60)),
    ]
    assert found(*images) == [("near-duplicate", "c", "a"), ("near-leak", "d", "c")]
    messages = [problem.message for problem in duplicate_problems(images)]
    assert messages[0] == "c: looks like a (96% equal)"
    assert messages[1] == "d: looks like c of train (100% equal)"


def test_another_split_comes_before_a_more_similar_image() -> None:
    images = [seen("train", "a", "1", looks(0)), seen("val", "b", "2", looks(0, 8)), seen("val", "c", "3", looks(0, 9))]
    assert found(*images)[1] == ("near-leak", "c", "a")


def test_a_copy_is_not_named_again_as_similar() -> None:
    images = [seen("train", "a", "1", looks(0)), seen("val", "b", "1", looks(0))]
    assert found(*images) == [("leak", "b", "a")]


def test_images_of_little_content_look_alike_only_when_they_nearly_are() -> None:
    """With 24 bits of content, 6 may differ; nearly uniform images are like any other, and are not compared."""
    plain = np.zeros(256, np.bool_)
    plain[:24] = True
    other, third = plain.copy(), plain.copy()
    other[6:12], third[:8] = False, False
    uniform = np.zeros(256, np.bool_)
    uniform[:3] = True
    images = [seen("train", str(i), str(i), bits) for i, bits in enumerate((plain, other, third, uniform, uniform))]
    assert found(*images) == []
    other[6:9] = True
    assert found(*images) == [("near-duplicate", "1", "0")]


def test_blocks_change_nothing(monkeypatch: object) -> None:
    images = [seen("train", str(i), str(i), looks(i % 7, i)) for i in range(30)]
    whole = found(*images)
    assert len(whole) > 10
    before = duplicates._ROWS
    try:
        duplicates._ROWS = 4
        assert found(*images) == whole
    finally:
        duplicates._ROWS = before
