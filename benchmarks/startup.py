"""How long does training take to start on a large data set, and how much memory does its index take?

Drawn COCO files in a temporary folder: all images are links to a few files, the text is written as it is drawn. peak_mb
is how far a process's own memory (pages of files, which can be dropped at any time, left out) rises above what it held
before; cpu_s are the seconds in which a processor worked, which a busy machine stretches less.

- `first read`, `cached read`: COCO's size, 860,001 boxes with outlines in 118,287 images, in a fresh process with
  everything imported. The peer is pycocotools' `COCO(file)`, where it is installed.
- `paa train`: from the command to the request for the first batch, the data set cached. The peer is
  `import torch, torchvision` alone.                                                                   goal: 5 s
- `n workers`: memory of the index in the loader's process and its workers, started by fork or by spawn: their own
  memory (shared pages in proportion) above that with 15 boxes, and the mapped file's.          goal: 400 MB
- `growth`: against annotations, without outlines, 15 an image; first read, cached read, and cached read with the plan
  of the first batch.                                                        goal: no faster than n log n, within 24 GiB

    python benchmarks/startup.py [--threads 1] [--repeats 3] [--largest 1000000]
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from paa.config import AugmentConfig, WorkerConfig
from paa.data.augment import TrainTransform
from paa.data.index import DatasetIndex
from paa.data.loader import train_loader
from paa.data.read import read_dataset
from paa.data.sampling import Sampling
from timing import parse_arguments, print_growth

IMAGES, BOXES = 118_287, 860_001
GROWTH = (100_000, 1_000_000, 10_000_000, 30_000_000)
PER_IMAGE = 15
WORKERS = [(0, "fork", True), (2, "fork", True), (4, "fork", True), (4, "spawn", True), (4, "spawn", False)]
CLASSES = 80
BLOCK = 100_000
LINKS = 50_000  # to one file; ext4 allows 65,000

IMAGE = '{"license": 4, "file_name": "%012d.jpg", "height": 480, "width": 640, "id": %d}'
OUTLINE = '"segmentation": [[' + ", ".join(["%.2f"] * 40) + "]], "
BOX = '"area": %.4f, "iscrowd": 0, "image_id": %d, "bbox": [%.2f, %.2f, %.2f, %.2f], "category_id": %d, "id": %d}'
START = """
import os, sys
from paa.commands.main import main
from paa.data.loader import Loader
Loader.__iter__ = lambda loader: os._exit(0)
main(sys.argv[1:])
"""


def draw(folder: Path, images: int, boxes: int, outlines: bool) -> Path:
    """Write a COCO file, in blocks, and hard links to an image, as every image must exist; return the file."""
    (folder / "images").mkdir(parents=True)
    for i in range(images):
        file = folder / "images" / f"{i:012d}.jpg"
        if i % LINKS == 0:
            original = file
            Image.new("RGB", (640, 480)).save(original)
        else:
            file.hardlink_to(original)
    rng = np.random.default_rng(0)
    path = folder / "train.json"
    with path.open("w") as file:

        def write(template: str, rows: Callable[[int, int], np.ndarray], total: int) -> None:
            for start in range(0, total, BLOCK):
                values = rows(start, min(start + BLOCK, total))
                text = ", ".join([template] * len(values)) % tuple(values.ravel().tolist())
                file.write((", " if start else "") + text)

        def annotations(start: int, end: int) -> np.ndarray:
            n = end - start
            x, y = rng.uniform(0, 320, n), rng.uniform(0, 240, n)
            width, height = np.exp(rng.uniform(np.log(4), np.log(240), (2, n)))
            image, category = rng.integers(0, images, n), rng.integers(0, CLASSES, n)
            columns = [width * height, image, x, y, width, height, category, np.arange(start, end)]
            points = [x + dx for dx in range(40)] if outlines else []
            return np.stack([*points, *columns], axis=1)

        file.write('{"images": [')
        write(IMAGE, lambda start, end: np.stack([np.arange(start, end)] * 2, axis=1), images)
        file.write('], "annotations": [')
        write("{" + (OUTLINE if outlines else "") + BOX, annotations, boxes)
        categories = [{"id": c, "name": f"class {c}"} for c in range(CLASSES)]
        file.write(f'], "categories": {json.dumps(categories)}}}')
    time.sleep(3)  # a file that was just written is not cached
    return path


@contextlib.contextmanager
def drawn(images: int, boxes: int, outlines: bool = False) -> Iterator[Path]:
    """Give a data set and an empty cache beside it, and delete both afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PAA_CACHE"] = f"{folder}/cache"
        yield draw(Path(folder) / "data", images, boxes, outlines)


def memory(process: int, file: str, field: str) -> float:
    """Return a field of a process's status or smaps_rollup, in MB. Linux only."""
    lines = Path(f"/proc/{process}/{file}").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


def timed(function: Callable[..., int], *arguments: Any) -> tuple[float, float]:
    """Return the seconds that a call takes, and those in which a processor worked at it."""
    start, cpu = time.perf_counter(), time.process_time()
    function(*arguments)
    return time.perf_counter() - start, time.process_time() - cpu


def apart() -> ProcessPoolExecutor:
    """Return an executor that is one fresh process, which may have children."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def measure_apart(function: Callable[..., int], *arguments: Any) -> dict[str, float]:
    """Return the seconds that a call takes in a fresh process, and its peak memory."""
    with apart() as pool:
        pool.submit(import_peer).result()
        process = pool.submit(os.getpid).result()
        before = peak = memory(process, "status", "RssAnon")
        job = pool.submit(timed, function, *arguments)
        while not job.done():
            peak = max(peak, memory(process, "status", "RssAnon"))
            time.sleep(0.005)
        seconds, cpu = job.result()
        return {"s": round(seconds, 4), "cpu_s": round(cpu, 4), "peak_mb": round(peak - before, 1)}


def import_peer() -> None:
    if importlib.util.find_spec("pycocotools"):
        import pycocotools.coco  # noqa: F401


def ours(path: Path) -> int:
    return len(read_dataset(path).boxes)


def pycocotools(path: Path) -> int:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        return len(COCO(path).anns)


def plan(path: Path) -> int:
    return len(next(iter(loader(read_dataset(path), 0)._loader.sampler)).positions)


def loader(index: DatasetIndex, workers: int) -> Any:
    transform = TrainTransform(AugmentConfig(min_sizes=(64,)))
    return train_loader(index, transform, Sampling(batch_size=4, steps=1000), workers=WorkerConfig(workers))


def command(*words: str | Path) -> dict[str, float]:
    """Return the seconds that Python takes for a command."""
    start, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    seconds, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"s": round(seconds, 3), "cpu_s": round(cpu, 3)}


def family_memory(path: Path, workers: int, method: str) -> tuple[float, float]:
    """Return what this process and its workers hold, in MB: of memory of their own, and of the mapped index."""
    warnings.filterwarnings("ignore", "This DataLoader will create")
    multiprocessing.set_start_method(method, force=True)
    batches = iter(loader(read_dataset(path), workers))
    for _ in range(4 * max(1, workers)):
        next(batches)
    family = [os.getpid(), *(child.pid for child in multiprocessing.active_children() if child.pid)]
    return sum(memory(process, "smaps_rollup", "Pss_Anon") for process in family), sum(map(mapped, family))


def mapped(process: int) -> float:
    """Return a process's share of the mapped files of the cache, in MB."""
    text = Path(f"/proc/{process}/smaps").read_text()
    shares = re.findall(r"\.paa-index\n(?:.*\n)*?Pss: +(\d+) kB", text)
    return sum(map(int, shares)) / 1024


def report(case: str, **values: float | str) -> None:
    print(json.dumps({"benchmark": "startup", "case": case, **values}), flush=True)


def at_coco_size(repeats: int) -> None:
    """Print the lines for one data set of COCO's size."""
    with drawn(IMAGES, BOXES, outlines=True) as path, tempfile.TemporaryDirectory() as other:
        first, again = measure_apart(ours, path), measure_apart(ours, path)
        peer = measure_apart(pycocotools, path) if importlib.util.find_spec("pycocotools") else None
        for case, mine in (("first read", first), ("cached read", again)):
            fields: dict[str, float | str] = {f"ours_{key}": value for key, value in mine.items()}
            if peer is not None:
                fields |= {"peer": "pycocotools", **{f"peer_{key}": value for key, value in peer.items()}}
                fields |= {
                    "ratio": round(mine["s"] / peer["s"], 4),
                    "memory_ratio": round(mine["peak_mb"] / peer["peak_mb"], 4),
                }
            report(f"{case}, {BOXES} boxes", **fields)
        options = ["--recipe", "r50_1x", "--val-batch-size", "0", "--device", "cpu"]
        for i in range(repeats):
            start = command("-c", START, "train", "--data", path, "--output", f"{other}/run{i}", *options)
            torch = command("-c", "import torch, torchvision")
            fields = {f"ours_{key}": value for key, value in start.items()} | {"peer": "import torch, torchvision"}
            report(f"paa train, {BOXES} boxes", **fields, **{f"peer_{key}": value for key, value in torch.items()})
        small = draw(Path(other) / "small", 1, PER_IMAGE, outlines=False)
        for workers, method, cache in WORKERS:
            os.environ["PAA_CACHE"] = str(path.parents[1] / "cache") if cache else "off"
            held = []
            for data in (small, path):
                with apart() as pool:
                    held.append(pool.submit(family_memory, data, workers, method).result())
            (floor, _), (own, index) = held
            case = f"{workers} workers, {method}, {'cached' if cache else 'not cached'}"
            held = max(own - floor, 0.0)  # a little below zero is the noise of two processes
            report(case, own_mb=round(own - floor, 1), mapped_mb=round(index, 1), total_mb=round(held + index, 1))


def grow(largest: int) -> None:
    """Print a line for each number of annotations."""
    for n in GROWTH:
        if n > largest:
            break
        with drawn(n // PER_IMAGE, n) as path:
            for curve, function in (("first read", ours), ("cached read", ours), ("cached read and plan", plan)):
                measured = measure_apart(function, path)
                print_growth("startup", curve, "annotations", n, measured["s"], measured["peak_mb"])


def main() -> None:
    """Measure every case."""
    arguments = parse_arguments(__doc__, repeats=3, largest=1_000_000)
    at_coco_size(arguments.repeats)
    grow(arguments.largest)


if __name__ == "__main__":
    main()
