from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from paa.data.files.lookup import NameLookup, PathLookup

FILES = [Path("/set") / name for name in ("x/seq1/a.png", "x/seq2/a.png", "y/seq2/a.png", "b.png", "é.png")]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("b.png", [3]),
        ("/gone/b.png", [3]),
        (r"C:\gone\B.PNG", [3]),
        ("seq1/a.png", [0]),
        (r"D:\all\Seq1\a.png", [0]),
        ("seq2/a.png", [1, 2]),
        ("/home/y/seq2/a.png", [2]),
        ("/home/y%2Fseq2/a.png", [2]),
        ("../y/./seq2//a.png", [2]),
        ("a.png", [0, 1, 2]),
        ("other/a.png", [0, 1, 2]),
        (f"/gone/{unicodedata.normalize('NFD', 'é.png')}", [4]),
        ("/gone/%C3%A9.png", [4]),
        ("c.png", []),
        ("", []),
        ("/", []),
    ],
)
def test_the_longest_ending_decides(path: str, found: list[int]) -> None:
    assert PathLookup(FILES).find(path) == [FILES[i] for i in found]
    assert PathLookup(map(str, FILES)).find(path) == [str(FILES[i]) for i in found]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/gone/a.png", ["x/a.png"]),
        ("/gone/A.png", ["y/A.png"]),
        ("/gone/A.PNG", ["x/a.png", "y/A.png"]),
        ("/gone/y/a.png", ["y/A.png"]),  # the longer ending, although the name has other capitals
        ("a%20b.png", ["x/a%20b.png"]),
        ("a b.png", ["x/a b.png"]),
        ("A%20b.png", ["x/a%20b.png", "x/a b.png"]),
    ],
)
def test_an_identical_ending_comes_before_equally_long_ones(path: str, found: list[str]) -> None:
    assert PathLookup(["x/a.png", "y/A.png", "x/a%20b.png", "x/a b.png"]).find(path) == found


def test_how_long_the_ending_is() -> None:
    lookup = PathLookup(FILES)
    assert lookup.find_with_length("/gone/y/seq2/a.png") == (3, [FILES[2]])
    assert lookup.find_with_length("/gone/seq1/a.png") == (2, [FILES[0]])
    assert lookup.find_with_length("c.png") == (0, [])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.png", "a.png"),
        ("B.PNG", "b.png"),
        ("a%20b.png", "a b.png"),
        (unicodedata.normalize("NFD", "é.png"), "é.png"),
        ("C.png", None),  # c.png and c.PNG are equally near
        ("d.png", None),
    ],
)
def test_names_that_differ_a_little(name: str, found: str | None) -> None:
    assert NameLookup(["a.png", "b.png", "a b.png", "é.png", "c.png", "c.PNG"]).find(name) == found
