from __future__ import annotations

from pathlib import Path

import pytest

from paa.urls import url_of


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
