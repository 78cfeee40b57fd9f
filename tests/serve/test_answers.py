"""Work for a request: it ends with the request's client, and with its time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

import anyio
import pytest
from fastapi import HTTPException, Request

from paa.detections import Detections
from paa.serve.answers import wait_for, while_connected


def run_with_client(use: Callable[[Request, Callable[[], None]], Awaitable[Any]]) -> Any:
    """Return what `use` returns, given a request whose body was read, and what closes its connection.

    Afterwards nothing may be left that the event loop has to do.
    """

    async def main() -> Any:
        left = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await left.wait()
            return {"type": "http.disconnect"}

        try:
            return await use(Request({"type": "http"}, receive), left.set)
        finally:
            await asyncio.sleep(0.01)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(main())


def test_work_is_done_while_the_client_waits() -> None:
    async def work() -> str:
        await asyncio.sleep(0.01)
        return "done"

    assert run_with_client(lambda request, leave: while_connected(request, work())) == "done"


def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise HTTPException(415, "not an image")

    with pytest.raises(HTTPException, match="not an image"):
        run_with_client(lambda request, leave: while_connected(request, work()))


def test_work_ends_when_the_client_leaves_and_none_of_it_begins_anew() -> None:
    done = []

    def decode(number: int, leave: Callable[[], None]) -> None:
        if number == 1:
            leave()
            time.sleep(0.2)  # a thread cannot be stopped
        done.append(number)

    async def use(request: Request, leave: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()

        async def work() -> None:
            for number in range(3):
                await anyio.to_thread.run_sync(decode, number, lambda: loop.call_soon_threadsafe(leave))

        with pytest.raises(HTTPException) as raised:
            await while_connected(request, work())
        assert raised.value.status_code == 499
        assert done == [0, 1]

    run_with_client(use)
    assert done == [0, 1]


def test_images_of_a_client_that_leaves_leave_the_queue() -> None:
    futures: list[Future[Detections]] = [Future(), Future()]

    async def use(request: Request, leave: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(0.01, leave)
        await while_connected(request, wait_for(futures, 60))

    with pytest.raises(HTTPException, match="499"):
        run_with_client(use)
    assert all(future.cancelled() for future in futures)


def test_detections_come_in_the_order_of_the_images_or_not_in_time() -> None:
    futures: list[Future[Any]] = [Future(), Future()]
    threading.Timer(0.02, futures[0].set_result, ["first"]).start()
    threading.Timer(0.01, futures[1].set_result, ["second"]).start()
    assert asyncio.run(wait_for(futures, 60)) == ["first", "second"]
    late: Future[Detections] = Future()
    with pytest.raises(HTTPException, match=r"504.*waited 0\.01 seconds for the network \(--timeout\)"):
        asyncio.run(wait_for([late], 0.01))
    assert late.cancelled()


def test_a_network_that_fails_after_its_client_has_left_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    futures: list[Future[Detections]] = [Future()]
    futures[0].set_running_or_notify_cancel()

    async def use(request: Request, leave: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(0.01, leave)
        with pytest.raises(HTTPException, match="499"):
            await while_connected(request, wait_for(futures, 60))
        futures[0].set_exception(RuntimeError("no more memory"))

    run_with_client(use)
    assert caplog.text == ""
