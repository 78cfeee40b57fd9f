"""What the benchmarks share: their command line, the fair timing of two functions against each other, and growth.

Each comparison is one JSON line: {"benchmark", "case", "ours_s", "peer", "peer_s", "ratio", "spread"}. Seconds are
medians, ratio is ours_s / peer_s (lower is better for us), spread holds the lower and the upper quartile of the ratio
over pairs of neighbouring runs. A time on the device alone is {"benchmark", "case", "device_s", "goal_s", "spread"}.
Each point of a growth curve is {"benchmark", "case": "growth: CURVE", "x", "n", "seconds"} and, where they are known,
"peak_mb" and, on a peer's curve, "peer". `report.py` makes the page, the slopes and the plots of them.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

T = TypeVar("T")


def parse_arguments(description: str | None, repeats: int = 15, **more: int | str) -> argparse.Namespace:
    """Read --device, --threads, --repeats (by default `repeats`) and `more`, and limit both sides to the threads."""
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
) -> tuple[float, float]:
    """Run both functions in turn, in this process, after `warm_up` rounds; print the JSON line, return both medians.

    items: how many things a run handles, if the line is to say how many each side handles in a second. clock:
    time.process_time, for work on one thread, does not count the time that other processes take.
    """
    pairs = []
    for i in range(warm_up + arguments.repeats):
        # who goes first changes each time, so that neither always finds the other's caches
        order = (ours, peer) if i % 2 else (peer, ours)
        times = {function: _seconds(function, arguments.device, clock) for function in order}
        pairs.append((times[ours], times[peer]))
    return _print_pairs(benchmark, case, peer_name, pairs[warm_up:], items)


def compare_all(
    benchmark: str,
    ours: Mapping[str, Callable[[], object]],
    peers: Mapping[str, Callable[[], object]],
    arguments: argparse.Namespace,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Run all functions in turn, as `compare` runs two, and print a line for each of ours against each peer.

    ours: functions by case; peers: by name. Each runs once a round, however many it is compared with.
    """
    functions = {**ours, **peers}
    assert len(functions) == len(ours) + len(peers)
    rounds = []
    for i in range(warm_up + arguments.repeats):
        order = list(functions) if i % 2 else list(reversed(functions))
        rounds.append({name: _seconds(functions[name], arguments.device, clock) for name in order})
    for case in ours:
        for peer in peers:
            _print_pairs(benchmark, case, peer, [(times[case], times[peer]) for times in rounds[warm_up:]])


def _print_pairs(
    benchmark: str, case: str, peer_name: str, pairs: Sequence[tuple[float, float]], items: int = 0
) -> tuple[float, float]:
    """Print the JSON line of neighbouring runs' seconds, ours and the peer's; return both medians."""
    ours_s, peer_s = (statistics.median(side) for side in zip(*pairs))
    lower, _, upper = statistics.quantiles([a / b for a, b in pairs], n=4, method="inclusive")
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
    return ours_s, peer_s


def measure(function: Callable[[], object], arguments: argparse.Namespace, warm_up: int = 1) -> list[float]:
    """Return the seconds of `--repeats` runs, after `warm_up` others."""
    seconds = [_seconds(function, arguments.device, time.perf_counter) for _ in range(warm_up + arguments.repeats)]
    return seconds[warm_up:]


def print_share(benchmark: str, case: str, part_s: float, whole_name: str, whole_s: float) -> None:
    """Print the JSON line of what a part takes of a whole: its share, from 0 to 1."""
    line = {"benchmark": benchmark, "case": case, "ours_s": round(part_s, 6), "peer": whole_name}
    print(json.dumps(line | {"peer_s": round(whole_s, 6), "share": round(part_s / whole_s, 4)}), flush=True)


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


def _resident_mb(field: str) -> float:
    """Return a field of this process's memory: VmRSS, now, or VmHWM, its peak. Linux only."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) / 1024


def watch(function: Callable[[], T], device: str = "cpu") -> tuple[T, float, float]:
    """Run once; return the result, the seconds, and how many MB memory rose above what was taken before.

    The memory is the GPU's allocations or, on the CPU, what is resident of this process (Linux with glibc only).
    """
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        ctypes.CDLL(None).malloc_trim(0)  # memory that was freed and kept would be taken again unseen
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        before = _resident_mb("VmRSS")
    start = time.perf_counter()
    result = function()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        return result, time.perf_counter() - start, (torch.cuda.max_memory_allocated() - before) / 2**20
    return result, time.perf_counter() - start, _resident_mb("VmHWM") - before


def print_growth(
    benchmark: str, curve: str, x: str, n: int, seconds: float, peak_mb: float | None = None, peer: str = ""
) -> None:
    """Print the JSON line of one point of a growth curve: x: what n counts; peer: whose curve it is, if not ours."""
    line = {"benchmark": benchmark, "case": f"growth: {curve}", "x": x, "n": n, "seconds": round(seconds, 6)}
    line |= {} if peak_mb is None else {"peak_mb": round(peak_mb, 1)}
    print(json.dumps(line | ({"peer": peer} if peer else {})), flush=True)


def grow(
    benchmark: str,
    curve: str,
    x: str,
    n: int,
    function: Callable[[], object],
    arguments: argparse.Namespace,
    peer: str = "",
) -> float:
    """Measure one point of a growth curve, print its line, and return the seconds.

    The median of `--repeats` runs, or of three if these take more than two seconds, after one that measures memory.
    """
    _, _, peak_mb = watch(function, arguments.device)
    seconds: list[float] = []
    while len(seconds) < arguments.repeats and (len(seconds) < 3 or sum(seconds) < 2):
        seconds.append(_seconds(function, arguments.device, time.perf_counter))
    median = statistics.median(seconds)
    print_growth(benchmark, curve, x, n, median, peak_mb, peer)
    return median
