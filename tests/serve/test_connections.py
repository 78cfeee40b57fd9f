"""Connections without a request end in time, others are left alone."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from paa.serve import server
from paa.serve.server import bind, run_server

SECONDS = 0.4


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Yield the port of a server, in a thread, that gives a connection 0.4 s for the head of a request."""
    app = FastAPI()

    @app.get("/slow")
    def slow() -> str:
        time.sleep(3 * SECONDS)
        return "done"

    started = threading.Event()
    servers: list[server._Server] = []

    class Kept(server._Server):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            servers.append(self)

    monkeypatch.setattr(server, "_Server", Kept)
    monkeypatch.setattr(server.signal, "signal", lambda number, handler: handler)  # not in the main thread
    with bind("127.0.0.1", 0) as listening:
        options = {"on_start": started.set, "on_stop": lambda: None, "seconds": SECONDS}
        thread = threading.Thread(target=run_server, args=(app, listening), kwargs=options)
        thread.start()
        assert started.wait(30)
        yield listening.getsockname()[1]
        servers[0].should_exit = True
        thread.join(30)


def seconds_open(port: int, *pieces: bytes) -> float:
    """Return how long a connection stays open that sends a piece every tenth of a second."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        start = time.monotonic()
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                break
            time.sleep(0.1)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
        return time.monotonic() - start


@pytest.mark.parametrize("pieces", [(), (b"GET / HTTP/1.1\r\n",), (b"G", b"E", b"T", *[b" "] * 8)])
def test_a_head_that_does_not_come_closes_the_connection(port: int, pieces: tuple[bytes, ...]) -> None:
    assert SECONDS * 0.9 < seconds_open(port, *pieces) < SECONDS + 5


def test_an_answer_that_takes_long_does_not(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(2):  # the second over the same connection
        connection.request("GET", "/slow")
        assert connection.getresponse().read() == b'"done"'
    connection.close()


def test_the_head_of_a_second_request_has_as_little_time(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET /none HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        while not connection.recv(65536).endswith(b"}"):
            pass
        start = time.monotonic()
        connection.sendall(b"GET /no")
        assert connection.recv(1) == b""
        assert SECONDS * 0.9 < time.monotonic() - start < SECONDS + 4  # 5 s is uvicorn's own limit, for idle ones
