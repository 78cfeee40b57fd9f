"""One thread that owns the model, and detects in the images that wait for it, those of one shape together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from paa.detections import Detections
from paa.inference.prepared import Prepared

_MOST_BYTES = 2**30  # of images that wait; they are small unless the detector looks at images of full size

Detect = Callable[[Sequence[Prepared], bool], list[Detections]]
"""Detects in images of the same padded size, with score voting or without."""


class QueueFullError(Exception):
    """Too many images wait; those that were given are not among them."""


class ClosedError(Exception):
    """The batcher takes no more images."""


@dataclass(eq=False)
class _Waiting:
    """An image that waits, whether it is to be detected in with voting, and where its detections go."""

    image: Prepared
    voting: bool
    future: Future[Detections] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)

    @property
    def shares_with(self) -> tuple[tuple[int, int], bool]:
        """What images of one batch have in common."""
        return self.image.padded_size, self.voting


class Batcher:
    """Takes images from many threads, and detects in them in a thread of its own, in batches.

    The image that has waited longest comes next, together with others of its padded size. If these are not `max_batch`
    yet, the thread waits for more until the first has waited `wait` seconds. While it works others gather, so that only
    the first image after a pause waits at all.
    """

    def __init__(
        self,
        detect: Detect,
        *,
        max_batch: int = 8,
        wait: float = 0.002,
        queue: int = 64,
        observe: Callable[[int, float], object] = lambda images, seconds: None,
    ) -> None:
        """queue: most images that wait. observe: is called with the size of each batch, and the seconds it took."""
        self._detect, self._observe = detect, observe
        self._max_batch, self._wait, self._queue = max_batch, wait, queue
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="paa detector", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether images that are submitted will be detected in."""
        return self._thread.is_alive() and not self._closed

    def __len__(self) -> int:
        """Return the number of images that wait."""
        with self._changed:
            return len(self._waiting)

    def submit(self, images: Sequence[Prepared], voting: bool = True) -> list[Future[Detections]]:
        """Add images to those that wait, all or none, and return where the detections of each will be.

        A future that is cancelled leaves the queue. Raises QueueFullError and ClosedError.
        """
        new = [_Waiting(image, voting) for image in images]
        with self._changed:
            if self._closed:
                raise ClosedError
            self._waiting = deque(each for each in self._waiting if not each.future.cancelled())
            waiting = sum(each.image.resized.nbytes for each in (*self._waiting, *new))
            if len(self._waiting) + len(new) > self._queue or (self._waiting and waiting > _MOST_BYTES):
                raise QueueFullError
            self._waiting.extend(new)
            self._changed.notify()
        return [each.future for each in new]

    def hurry(self) -> None:
        """From now on let no image wait for others."""
        with self._changed:
            self._wait = 0.0
            self._changed.notify()

    def close(self) -> None:
        """Take no more images, and return when all that wait are done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            start = time.perf_counter()
            try:
                found = self._detect([each.image for each in batch], batch[0].voting)
            except Exception as error:
                for each in batch:
                    each.future.set_exception(error)
                continue
            self._observe(len(batch), time.perf_counter() - start)
            for each, detections in zip(batch, found):
                each.future.set_result(detections)

    def _next(self) -> list[_Waiting]:
        """Return the next batch, waiting for it; an empty one at the end."""
        with self._changed:
            while True:
                while not self._waiting:
                    if self._closed:
                        return []
                    self._changed.wait()
                first = self._waiting[0]
                batch = [each for each in self._waiting if each.shares_with == first.shares_with][: self._max_batch]
                left = first.since + self._wait - time.monotonic()
                if len(batch) < self._max_batch and left > 0 and not self._closed:
                    self._changed.wait(left)
                    continue
                self._waiting = deque(each for each in self._waiting if each not in batch)
                # from here on a future cannot be cancelled; those that were are left out
                batch = [each for each in batch if each.future.set_running_or_notify_cancel()]
                if batch:
                    return batch
