"""The process that serves: a socket, an application, and an end that leaves nobody without an answer."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from paa.errors import RunError, one_line
from paa.serve.connections import TimedConnection

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The names of this machine by which only itself can reach it."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0: any free one. RunError, with what helps, where that cannot be."""
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OverflowError:
        raise RunError(f"--port {port}: a port is a number from 0 to 65535") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise RunError(f"port {port} of {host} is in use: --port 0 takes a free one") from error
        if error.errno == errno.EACCES:
            raise RunError(f"port {port} needs rights that this user does not have: take one above 1023") from error
        raise RunError(f"--host {host}: {error.strerror or one_line(error)}") from error
    # connections inherit this; otherwise an answer's content waits 40 ms for the client to confirm its headers
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def address_of(listening: socket.socket) -> str:
    """Return the address that a browser opens."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(
    app: FastAPI,
    listening: socket.socket,
    *,
    on_start: Callable[[], object],
    on_stop: Callable[[], object],
    seconds: float,
) -> None:
    """Serve until SIGINT or SIGTERM comes; then take no more requests, answer those in progress, and return.

    on_start: is called when requests are answered. on_stop: is called before those in progress are waited for.
    seconds: how long these may take, and how long a connection may stay without a request.
    """
    config = uvicorn.Config(
        app,
        http=cast(type[asyncio.Protocol], partial(TimedConnection, seconds=seconds)),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(seconds)),
    )
    for name in ("uvicorn.error", "python_multipart"):
        logging.getLogger(name).setLevel(logging.ERROR)  # a client's fault is in its answer, not in the log
    with _quiet_signals():
        _Server(config, on_start, on_stop).run([listening])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_start: Callable[[], object], on_stop: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_start, self._on_stop = on_start, on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """Let the signals that end a server, which uvicorn raises again after it has ended, do nothing more."""

    def nothing(number: int, frame: FrameType | None) -> None:
        pass

    before = {number: signal.signal(number, nothing) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
