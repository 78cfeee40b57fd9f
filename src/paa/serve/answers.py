"""Waiting for the detections of a request, no longer than its client and its time allow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from fastapi import HTTPException, Request

from paa.detections import Detections


def client_left() -> HTTPException:
    """Return what answers a client that did not wait: status 499, nginx's, under which the request is counted."""
    return HTTPException(499, "the client has closed the connection")


async def wait_for(request: Request, futures: Sequence[Future[Detections]], seconds: float) -> list[Detections]:
    """Return the detections; else take those that still wait out of the queue, and raise HTTPException.

    504 after `seconds`. 499, which nobody receives, when the client has closed the connection.
    """
    found = asyncio.gather(*(asyncio.wrap_future(future) for future in futures))
    leaving = asyncio.ensure_future(_client_left(request))
    either: set[asyncio.Future[Any]] = {found, leaving}
    try:
        done, _ = await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not found.done():
            found.cancel()  # and with it each future
            found.add_done_callback(_look_at)
    if found in done:
        return await found
    if leaving in done:
        raise client_left()
    raise HTTPException(504, f"waited {seconds:g} seconds for the network (--timeout)")


def _look_at(done: asyncio.Future[Any]) -> None:
    """Take note of how a future ended, which asyncio would log otherwise."""
    if not done.cancelled():
        done.exception()


async def _client_left(request: Request) -> None:
    """Return when the connection is closed; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
