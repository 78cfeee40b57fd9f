"""Work for a request, no longer than its client and its time allow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import anyio
from fastapi import HTTPException, Request

from paa.detections import Detections

T = TypeVar("T")


def client_left() -> HTTPException:
    """Return what answers a client that did not wait: status 499, nginx's, under which the request is counted."""
    return HTTPException(499, "the client has closed the connection")


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """Return what the work returns; cancel it when the client closes the connection, and raise HTTPException 499.

    The body of the request must have been read. Nobody receives the 499. It comes after what cannot be cancelled, as
    an image that a thread decodes.
    """
    with anyio.CancelScope() as scope:
        watching = asyncio.ensure_future(_cancel_when_left(request, scope))
        try:
            return await work
        finally:
            watching.cancel()
    raise client_left()


async def wait_for(futures: Sequence[Future[Detections]], seconds: float) -> list[Detections]:
    """Return the detections; HTTPException 504 after `seconds`.

    With that, or when this is cancelled, those that still wait leave the queue.
    """
    found = asyncio.gather(*(asyncio.wrap_future(future) for future in futures))
    found.add_done_callback(_look_at)
    try:
        with anyio.fail_after(seconds):
            return await found
    except TimeoutError:
        raise HTTPException(504, f"waited {seconds:g} seconds for the network (--timeout)") from None


def _look_at(done: asyncio.Future[Any]) -> None:
    """Take note of how a future ended, which asyncio logs otherwise if nobody waits for it any more."""
    if not done.cancelled():
        done.exception()


async def _cancel_when_left(request: Request, scope: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
