"""What the benchmarks share: their command line, and the fair timing of two functions against each other.

Each comparison is one JSON line: {"benchmark", "case", "ours_s", "peer", "peer_s", "ratio", "spread"}. Seconds are
medians, ratio is ours_s / peer_s (lower is better for us), spread holds the lower and the upper quartile of the ratio
over pairs of neighbouring runs. A time on the device alone is {"benchmark", "case", "device_s", "goal_s", "spread"}.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from threadpoolctl import threadpool_limits


def parse_arguments(description: str | None, repeats: int = 15, **more: int | str) -> argparse.Namespace:
    """Read --device, --threads, --repeats (by default `repeats`) and `more`, and hold both sides to the threads."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads of torch and BLAS")
    parser.add_argument("--repeats", type=int, default=repeats, help="pairs of runs that are measured")
    for name, value in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"default {value!r}")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    threadpool_limits(arguments.threads)
    return arguments


def _seconds(function: Callable[[], object], device: str, clock: Callable[[], float]) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    start = clock()
    function()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return clock() - start


def compare(
    benchmark: str,
    case: str,
    ours: Callable[[], object],
    peer_name: str,
    peer: Callable[[], object],
    arguments: argparse.Namespace,
    warm_up: int = 3,
    items: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Run both functions in turn, in this process, after `warm_up` rounds, and print the JSON line.

    items: how many things a run handles, if the line is to say how many each side handles in a second. clock:
    time.process_time, for work on one thread, does not count the time that other processes take.
    """
    pairs = []
    for i in range(warm_up + arguments.repeats):
        # who goes first changes each time, so that neither always finds the other's caches
        order = (ours, peer) if i % 2 else (peer, ours)
        times = {function: _seconds(function, arguments.device, clock) for function in order}
        pairs.append((times[ours], times[peer]))
    pairs = pairs[warm_up:]
    ours_s, peer_s = (statistics.median(side) for side in zip(*pairs))
    lower, _, upper = statistics.quantiles([a / b for a, b in pairs], n=4)
    line = {
        "benchmark": benchmark,
        "case": case,
        "ours_s": round(ours_s, 6),
        "peer": peer_name,
        "peer_s": round(peer_s, 6),
        "ratio": round(ours_s / peer_s, 4),
        "spread": [round(lower, 4), round(upper, 4)],
    }
    if items:
        line |= {"ours_per_s": round(items / ours_s, 1), "peer_per_s": round(items / peer_s, 1)}
    print(json.dumps(line), flush=True)


def device_time(
    benchmark: str, case: str, function: Callable[[], object], goal: float, arguments: argparse.Namespace
) -> None:
    """Print the JSON line of how long the device takes, by its own clock: from an empty queue to an empty queue.

    goal: seconds. spread: the lower and the upper quartile, in seconds.
    """
    seconds = []
    for _ in range(3 + 10 * arguments.repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        function()
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) / 1000)
    lower, median, upper = statistics.quantiles(seconds[3:], n=4)
    line = {
        "benchmark": benchmark,
        "case": case,
        "device_s": round(median, 7),
        "goal_s": goal,
        "spread": [round(lower, 7), round(upper, 7)],
    }
    print(json.dumps(line), flush=True)
