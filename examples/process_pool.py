"""Detect in images in a pool of processes of your own: a `paa.BatchDetector` is a function that can be sent to them.

    pip install 'paa[parquet]'
    python examples/process_pool.py CHECKPOINT photos --output detections.parquet --processes 4

`paa predict --engine processes` does the same and survives what kills a process; this is for programs that have a pool
already, or that do something else with each table.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import torch

import paa
from paa.batch_inference.addresses import find_addresses

BATCH = 64
"""Images in a call."""


def main(arguments: list[str] | None = None) -> None:
    """Write the detections in all images of a folder, pattern or store."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("images")
    parser.add_argument("--output", default="detections.parquet")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args(arguments)

    detector = paa.BatchDetector(given.checkpoint, device="cpu")
    images = iter(find_addresses([given.images]))
    batches = [pa.table({"image": some}) for some in iter(lambda: list(islice(images, BATCH)), [])]
    context = multiprocessing.get_context("spawn")  # forked processes would share torch's threads, and hang
    with ProcessPoolExecutor(given.processes, context, torch.set_num_threads, (1,)) as pool:
        tables = pa.concat_tables(pool.map(detector, batches))
    pq.write_table(tables, given.output)
    objects, bad = (len(tables) - tables[name].null_count for name in ("score", "error"))
    print(f"{objects} objects, {bad} images that cannot be read")


if __name__ == "__main__":
    main()
