"""When a run must end so that it ends in time."""

from __future__ import annotations

from paa.training.time_limit import TimeLimit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_no_limit_forbids_nothing() -> None:
    clock = Clock()
    limit = TimeLimit(None, clock)
    with limit.measured("step"):
        clock.now += 1e9
    assert not limit.forbids("step")


def test_parts_take_as_long_as_their_longest() -> None:
    clock = Clock()
    limit = TimeLimit(1, clock)
    for seconds in (10, 100, 20):
        with limit.measured("step"):
            clock.now += seconds
    with limit.measured("saving"):
        clock.now += 30
    clock.now = 100 + 3600 - 100 - 30 - 5
    assert not limit.forbids("step", "saving")
    clock.now += 0.1
    assert limit.forbids("step", "saving")
    assert not limit.forbids("saving")
    assert not limit.forbids("validation")  # none was measured
    clock.now += 130
    assert limit.forbids()
