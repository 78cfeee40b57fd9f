from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from paa.serve.urls import FetchError, fetch
from tests.weights.servers import serve


def sending(data: bytes, pause: float = 0.0) -> Any:
    """Return an answer with this content, ten pieces with pauses between."""

    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        step = max(1, len(data) // 10)
        for i in range(0, len(data), step):
            with suppress(OSError):  # the client has read enough
                handler.wfile.write(data[i : i + step])
                handler.wfile.flush()
            time.sleep(pause)

    return answer


def leading_to(address: str, slowly: int = 0) -> Any:
    """Return an answer that redirects; slowly: how many times a tenth of a second its own content takes."""

    def answer(handler: Any) -> None:
        handler.send_response(302)
        handler.send_header("Location", address)
        handler.end_headers()
        for _ in range(slowly):
            with suppress(OSError):  # the client has gone on
                handler.wfile.write(bytes(100))
            time.sleep(0.1)

    return answer


def test_what_is_at_the_address() -> None:
    with serve(sending(b"0123456789" * 50)) as server:
        assert fetch(f"{server.url}/a.jpg", most=500, seconds=20) == b"0123456789" * 50
    with serve(leading_to("/b.jpg"), sending(b"image")) as server:
        assert fetch(f"{server.url}/a.jpg", most=500, seconds=20) == b"image"


def test_no_more_than_the_limit() -> None:
    larger = pytest.raises(FetchError, match="larger than 500 bytes, the limit")
    with serve(sending(bytes(501))) as server, larger as caught:
        fetch(server.url, most=500, seconds=20)
    assert caught.value.status == 413


def test_no_longer_than_the_limit() -> None:
    with serve(sending(bytes(100), pause=0.2)) as server:
        start = time.monotonic()
        with pytest.raises(FetchError, match=r"took longer than 0.5 seconds"):
            fetch(server.url, most=500, seconds=0.5)
        assert time.monotonic() - start < 1.5


def test_the_content_of_a_redirection_is_not_read() -> None:
    with serve(leading_to("/b.jpg", slowly=30), sending(b"image")) as server:
        start = time.monotonic()
        assert fetch(f"{server.url}/a.jpg", most=500, seconds=20) == b"image"
        assert time.monotonic() - start < 2


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:,x", "/etc/passwd", ""])
def test_only_http(address: str) -> None:
    with pytest.raises(FetchError, match="not an http or https URL"):
        fetch(address, most=500, seconds=20)


def test_a_redirection_leads_nowhere_else(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with serve(leading_to(secret.as_uri())) as server, pytest.raises(FetchError):
        fetch(server.url, most=500, seconds=20)


def test_errors_are_one_line() -> None:
    def missing(handler: Any) -> None:
        handler.send_error(404)

    with serve(missing) as server, pytest.raises(FetchError, match=r"/x: its server answers 404 Not Found$"):
        fetch(f"{server.url}/x", most=500, seconds=20)
    with pytest.raises(FetchError, match="refused"):
        fetch("http://127.0.0.1:9/", most=500, seconds=20)
    with pytest.raises(FetchError):
        fetch("http://[", most=500, seconds=20)
