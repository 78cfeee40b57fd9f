"""Images from URLs: what servers of every kind answer, against the limits of size, time and redirects."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paa.config import FetchConfig
from paa.data.images.fetch import MAX_REDIRECTS, FetchLimits, _redirected, fetch, is_url, name_of, read_url
from paa.data.images.read import read_image
from paa.errors import ConfigError, ImageError, TooManyBytesError
from tests.weights.servers import Answer, file, hang, serve, status, trickle

LIMITS = FetchConfig(max_mb=0.1, timeout=0.4)
SLOW = FetchConfig(max_mb=1, timeout=0.4)  # for `trickle`, which claims a megabyte
FEW = FetchLimits(max_bytes=500, seconds=0.4, size_hint="ask for more", time_hint="wait longer")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return an image of 20 kB that is shown turned."""
    pixels = np.random.default_rng(0).integers(0, 255, (60, 100, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", quality=95, exif=exif)
    return tmp_path / "photo.jpg"


def redirect(target: str, code: int = 302) -> Answer:
    return status(code, {"Location": target})


@pytest.mark.parametrize("length", [True, False])
def test_an_image_is_that_of_its_file(photo: Path, length: bool) -> None:
    with serve(file(photo.read_bytes(), length=length)) as server:
        image = read_url(f"{server.url}/a photo?größe=1#top", LIMITS)
        assert server.requests == [("GET", "/a%20photo?gr%C3%B6%C3%9Fe=1", None)]
    assert image.shape == (100, 60, 3)
    assert np.array_equal(image, read_image(photo))


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(photo: Path, code: int) -> None:
    with serve(redirect("/b/c.jpg", code), redirect("d.jpg", code), file(photo.read_bytes())) as server:
        assert np.array_equal(read_url(f"{server.url}/a.jpg", LIMITS), read_image(photo))
        assert [path for _, path, _ in server.requests] == ["/a.jpg", "/b/c.jpg", "/b/d.jpg"]


def test_a_redirect_loop_ends() -> None:
    with serve(redirect("/again")) as server:
        with pytest.raises(ImageError, match=rf"^{server.url}/x: more than {MAX_REDIRECTS} redirects$"):
            read_url(f"{server.url}/x", LIMITS)
        assert len(server.requests) == MAX_REDIRECTS + 1


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://a.org/b.jpg", "data:image/png;base64,AAAA"])
def test_redirects_to_other_schemes_are_not_followed(target: str) -> None:
    with serve(redirect(target)) as server:
        with pytest.raises(ImageError, match=re.escape(f"redirects to '{target}', which is not followed")):
            read_url(f"{server.url}/x", LIMITS)
        assert len(server.requests) == 1


def test_a_redirect_with_endless_content() -> None:
    """The content of a redirect is not read: urllib's usual opener would fill the memory with it."""

    def answer(request: object) -> None:
        redirect("/photo.jpg")(request)  # type: ignore[arg-type]
        with suppress(OSError):
            while True:
                request.wfile.write(bytes(2**20))  # type: ignore[attr-defined]

    with serve(answer, status(404)) as server, pytest.raises(ImageError, match="HTTP 404"):
        read_url(f"{server.url}/x", LIMITS)


HTML = b"<!doctype html><html><title>Log in</title></html>"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (status(404), "HTTP 404 Not Found"),
        (status(302), "HTTP 302 Found"),  # a redirect to nowhere
        (status(500), "HTTP 500 Internal Server Error"),
        (file(bytes(200_000)), "195.3 kB, more than 102.4 kB; --url.max-mb N allows more"),
        (file(b"x" * 200_000, length=False), "more than 102.4 kB; --url.max-mb N allows more"),
        (file(HTML), "a web page, not an image: its address gave an error or a log-in page"),
        (file(b""), "an empty file"),
        (file(bytes(5000)), "holds zeros only: its copy or download failed"),
        (file(b"x" * 100, cut=50), "the connection broke after 50 of 100 bytes"),
        (hang, "no answer for 0.4 seconds"),
        (trickle, "not all there after 0.4 seconds; --url.timeout N waits longer"),
    ],
)
def test_what_cannot_be_had_is_one_line(answer: Answer, says: str) -> None:
    started = time.monotonic()
    with serve(answer) as server, pytest.raises(ImageError) as error:
        read_url(f"{server.url}/x.jpg", SLOW if answer is trickle else LIMITS)
    assert str(error.value) == f"{server.url}/x.jpg: {says}"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("length", [True, False])
def test_bytes_up_to_the_limit(length: bool) -> None:
    content = bytes(range(250)) * 2
    with serve(file(content, length=length)) as server:
        assert fetch(server.url, FEW) == content
    with serve(file(content + b"x", length=length)) as server, pytest.raises(TooManyBytesError) as error:
        fetch(f"{server.url}/x", FEW)
    stated = "501 bytes, " if length else ""
    assert str(error.value) == f"{server.url}/x: {stated}more than 500 bytes; ask for more"


def test_other_failures_are_not_those_of_size() -> None:
    for answer in (status(404), redirect("/again"), redirect("file:///x"), hang, file(b"x" * 100, cut=50)):
        with serve(answer) as server, pytest.raises(ImageError) as error:
            fetch(server.url, FEW)
        assert type(error.value) is ImageError


def test_time_is_that_of_all_redirects() -> None:
    def slowly(request: BaseHTTPRequestHandler) -> None:
        time.sleep(0.6)
        redirect("/again")(request)

    with serve(slowly) as server:
        with pytest.raises(ImageError, match=r"/x: not all there after 1 seconds; wait longer$"):
            fetch(f"{server.url}/x", replace(FEW, seconds=1))
        assert len(server.requests) == 2


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "data:,x", "/etc/hostname", ""])
def test_other_schemes_are_not_fetched(url: str) -> None:
    with pytest.raises(ImageError) as error:
        fetch(url, FEW)
    assert str(error.value) == f"{url}: not an http or https URL"


@pytest.mark.parametrize(
    ("address", "target", "new"),
    [
        ("https://a.org/b", "https://c.org/d", "https://c.org/d"),
        ("https://a.org/b", "/d", "https://a.org/d"),
        ("https://a.org/b", "//c.org/d", "https://c.org/d"),
        ("http://a.org/b", "https://a.org/b", "https://a.org/b"),
        ("https://a.org/b", "http://a.org/b", None),
        ("https://a.org/b", "HTTP://a.org/b", None),
    ],
)
def test_no_redirect_leads_from_https_to_http(address: str, target: str, new: str | None) -> None:
    if new is None:
        with pytest.raises(ImageError, match=r"redirects to '.*', which is not followed"):
            _redirected(address, target)
    else:
        assert _redirected(address, target) == new


def test_a_truncated_image(photo: Path) -> None:
    with serve(file(photo.read_bytes()[:700])) as server, pytest.raises(ImageError, match=r"x: cannot be read: "):
        read_url(f"{server.url}/x", LIMITS)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a.jpg", "http://", "http://127.0.0.1:port/a", "http://[::1/a", "https://-.invalid/\n"]
)
def test_no_server(url: str) -> None:
    with pytest.raises(ImageError, match=re.escape(url) + ": ."):
        read_url(url, LIMITS)


def test_proxies_of_the_environment(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(file(photo.read_bytes())) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert read_url("http://photos.invalid/a.jpg", LIMITS).shape == (100, 60, 3)
        assert [path for _, path, _ in proxy.requests] == ["http://photos.invalid/a.jpg"]


def test_formats_are_those_of_files(photo: Path) -> None:
    data = BytesIO()
    with Image.open(photo) as image:
        image.save(data, "WEBP", lossless=True)
    with serve(file(data.getvalue())) as server:
        assert read_url(server.url, LIMITS).shape[2] == 3


def test_urls() -> None:
    assert [
        url for url in ("http://a", "HTTPS://a/b", "ftp://a", "file:///a", "http:/a", "a.jpg", "s3://a") if is_url(url)
    ] == [
        "http://a",
        "HTTPS://a/b",
    ]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://a.org/b/photo.jpg?size=large#x", "photo.jpg"),
        ("https://a.org/b/photo%20%C3%BC.jpg", "photo_ü.jpg"),
        ("https://a.org/photo/", "photo"),
        ("https://a.org/", "a.org"),
        ("https://a.org", "a.org"),
        ("https://a.org/..%2F..%2Fetc%2Fpasswd", "_.._etc_passwd"),
        ("https://a.org/%00%0a", "a.org"),
        ("https://a.org/" + "x" * 300 + ".jpg", "x" * 96 + ".jpg"),
        ("https:///", "image"),
        ("http://[::1/a", "image"),
    ],
)
def test_names_for_files(url: str, name: str) -> None:
    assert name_of(url) == name


@pytest.mark.parametrize("change", [{"max_mb": 0}, {"timeout": 0}, {"timeout": float("inf")}, {"max_mb": float("nan")}])
def test_limits_that_are_none(change: dict[str, float]) -> None:
    make: Callable[..., FetchConfig] = FetchConfig
    with pytest.raises(ConfigError, match="must be above 0"):
        make(**change)
