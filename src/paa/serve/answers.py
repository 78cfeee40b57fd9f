"""Waiting for the detections of a request, no longer than its client and its time allow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from fastapi import HTTPException, Request

from paa.detections import Detections

CLIENT_LEFT = 499
"""The status, nginx's, under which a request is counted whose client did not wait for the answer."""


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
    if found in done:
        return await found
    if leaving in done:
        raise HTTPException(CLIENT_LEFT, "the client has closed the connection")
    raise HTTPException(504, f"waited {seconds:g} seconds for the network (--timeout)")


async def _client_left(request: Request) -> None:
    """Return when the connection is closed; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
