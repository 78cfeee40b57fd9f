from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paa.data.read import read_dataset
from paa.errors import PaaError
from paa.inference.sources import find_images
from paa.runtime.urls import url_of
from paa.weights.files import read_file


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://a.org/b.jpg", "https://a.org/b.jpg"),
        (Path("https://a.org/b.jpg"), "https://a.org/b.jpg"),
        ("http:/a.org/b", "http://a.org/b"),
        ("HTTPS://A.org", "HTTPS://A.org"),
        ("gs://bucket/x", "gs://bucket/x"),
        ("b.jpg", None),
        ("/data/http/x.jpg", None),
        ("C:/images/x.jpg", None),
        ("http:", None),
        ("", None),
    ],
)
def test_urls(given: str | Path, url: str | None) -> None:
    assert url_of(given) == url


@pytest.mark.parametrize("read", [read_dataset, read_file, lambda path: find_images([path])])
def test_a_url_for_a_path(read: Callable[[Path], object]) -> None:
    """`Path` turns the two slashes of a URL into one; the message has the URL as it was given."""
    with pytest.raises(PaaError, match=r"^https://a\.org/b: a URL, not a path: download it first$"):
        read(Path("https://a.org/b"))
    with pytest.raises(PaaError, match=r"^file:///a/b: a URL, not a path: name the file without file://$"):
        read(Path("file:///a/b"))
