"""What waits together is detected in together, and nothing that is submitted is forgotten."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from paa.detections import Detections
from paa.inference.prepared import Prepared
from paa.serve.batcher import Batcher, ClosedError, QueueFullError

Batches = list[tuple[list[int], bool]]


def image(number: int, height: int = 32, width: int = 32) -> Prepared:
    """Return an image that is known by its first pixel."""
    return Prepared(torch.full((3, height, width), number, dtype=torch.uint8), (height, width))


def number_of(prepared: Prepared) -> int:
    return int(prepared.resized[0, 0, 0])


def numbers(found: Detections) -> list[int]:
    return [int(label) for label in found.labels]


class Recorder:
    """A network that finds each image's number, once it is let go, and remembers what it was given together."""

    def __init__(self, started: bool = True) -> None:
        self.batches: Batches = []
        self.go, self.busy = threading.Event(), threading.Event()
        if started:
            self.go.set()

    def __call__(self, images: Sequence[Prepared], voting: bool) -> list[Detections]:
        self.busy.set()
        assert self.go.wait(20)
        given = [number_of(each) for each in images]
        self.batches.append((given, voting))
        if 13 in given:
            raise ValueError("thirteen")
        labels = [np.array([each]) for each in given]
        return [Detections(np.zeros((1, 4), np.float32), np.ones(1, np.float32), each, ()) for each in labels]


Start = Callable[..., tuple[Batcher, Recorder]]


def busy(**options: float) -> tuple[Batcher, Recorder]:
    """Return a batcher that works on image 0 until its network is let go."""
    recorder = Recorder(started=False)
    batcher = Batcher(recorder, **options)  # type: ignore[arg-type]
    batcher.submit([image(0)])
    assert recorder.busy.wait(20)
    return batcher, recorder


def test_only_images_of_one_padded_shape_and_one_voting_share_a_batch() -> None:
    batcher, recorder = busy(max_batch=3)
    futures = batcher.submit([image(1), image(2, 64), image(3), image(4, 31, 30), image(5)])
    futures += batcher.submit([image(6)], voting=False)
    futures += batcher.submit([image(7, 40)])
    assert len(batcher) == 7
    recorder.go.set()
    assert [numbers(future.result(20)) for future in futures] == [[n] for n in range(1, 8)]
    batcher.close()
    assert recorder.batches == [([0], True), ([1, 3, 4], True), ([2, 7], True), ([5], True), ([6], False)]


def test_a_full_queue_takes_all_or_none() -> None:
    batcher, recorder = busy(queue=3)
    batcher.submit([image(1), image(2)])
    with pytest.raises(QueueFullError):
        batcher.submit([image(3), image(4)])
    assert len(batcher) == 2
    (last,) = batcher.submit([image(5)])
    recorder.go.set()
    assert numbers(last.result(20)) == [5]
    batcher.close()
    assert sorted(n for given, _ in recorder.batches for n in given) == [0, 1, 2, 5]


def test_what_is_cancelled_leaves_the_queue_to_others() -> None:
    batcher, recorder = busy(queue=2)
    first, second = batcher.submit([image(1), image(2)])
    assert first.cancel()
    (third,) = batcher.submit([image(3)])
    assert second.cancel()
    recorder.go.set()
    assert numbers(third.result(20)) == [3]
    batcher.close()
    assert recorder.batches[1:] == [([3], True)]


def test_all_cancelled_is_an_empty_queue() -> None:
    batcher, recorder = busy()
    (only,) = batcher.submit([image(1)])
    only.cancel()
    recorder.go.set()
    (later,) = batcher.submit([image(2)])
    assert numbers(later.result(20)) == [2]
    batcher.close()


def test_an_error_is_the_result_of_its_batch_alone() -> None:
    batcher, recorder = busy()
    failing = batcher.submit([image(13), image(1)])
    (other,) = batcher.submit([image(2, 64)])
    recorder.go.set()
    for future in failing:
        with pytest.raises(ValueError, match="thirteen"):
            future.result(20)
    assert numbers(other.result(20)) == [2]
    assert batcher.alive
    batcher.close()


def test_closing_does_what_waits_and_takes_no_more() -> None:
    batcher, recorder = busy()
    futures = batcher.submit([image(n) for n in range(1, 12)])
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while batcher.alive:
        time.sleep(0.001)
    with pytest.raises(ClosedError):
        batcher.submit([image(1)])
    recorder.go.set()
    closing.join(20)
    assert [numbers(future.result(0)) for future in futures] == [[n] for n in range(1, 12)]


def test_an_image_waits_for_others_but_not_for_long() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder, wait=0.2, max_batch=3)
    start = time.monotonic()
    futures = batcher.submit([image(1)]) + batcher.submit([image(2)])
    for future in futures:
        future.result(20)
    assert time.monotonic() - start >= 0.2
    for future in batcher.submit([image(3), image(4), image(5)]):  # a full batch waits for nothing
        future.result(20)
    batcher.close()
    assert recorder.batches == [([1, 2], True), ([3, 4, 5], True)]


def test_each_batch_is_observed() -> None:
    seen: list[tuple[int, float]] = []
    recorder = Recorder()
    batcher = Batcher(recorder, observe=lambda images, seconds: seen.append((images, seconds)))
    batcher.submit([image(1), image(2)])[1].result(20)
    batcher.close()
    assert [images for images, _ in seen] == [2]
    assert 0 <= seen[0][1] < 20
