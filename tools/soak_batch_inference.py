"""Kill the processes of batch inferences at random moments, and look whether each image is in the results exactly once.

    python tools/soak_batch_inference.py [--kills 100] [--seed 0] [--output FILE]

`paa predict --engine processes` with two workers goes through drawn shapes. At random moments one of its processes gets
SIGKILL: the program, a worker or a helper. When the program is dead, the same command is started again. When it ends by
itself, its tables must be those of a run in one process that nothing killed, and another one begins. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import secrets
import shutil
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from pyarrow import dataset

from paa.commands.main import main as paa
from paa.config import ModelConfig
from paa.data.shapes import NAMES, make_shapes
from paa.model.detector import Detector
from paa.training.run_folder import save_checkpoint
from paa.weights.formats import own

IMAGES, SHARD = 240, 8
PATIENCE = 600  # seconds after which a program is taken to hang
MARK = "PAA_SOAK"

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["paa.commands.predict", "paa.batch_inference.run"])


def work(arguments: list[str], mark: str) -> None:
    """Run a command of paa in this new process, and say nothing. Its processes have the mark in their environment."""
    os.environ[MARK] = mark
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    torch.set_num_threads(1)
    paa(arguments)


def helpers(mark: str) -> list[int]:
    """Return the processes that a program has started."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found


def tables(folder: Path) -> Counter[tuple[Any, ...]]:
    """Return each row of both tables, and how often it is there."""
    rows: Counter[tuple[Any, ...]] = Counter()
    for name in ("detections", "errors"):
        rows.update(tuple(row.values()) for row in dataset.dataset(folder / name).to_table().to_pylist())
    return rows


def main() -> None:
    """Kill until so many kills were survived; exit code 1 for a result that differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    folder = Path(tempfile.mkdtemp())
    shapes = make_shapes(folder / "shapes", IMAGES, size=(64, 96)) / "images"
    next(iter(sorted(shapes.iterdir()))).write_text("no image")
    torch.manual_seed(0)
    detector = Detector(ModelConfig(backbone="resnet18", channels=16, tower_depth=1, min_size=64, max_size=96), NAMES)
    torch.nn.init.normal_(detector.head.cls_logits.weight, std=0.3)
    save_checkpoint(folder / "model.pt", own.write(detector.config, detector.names, detector.state_dict()))
    command = ["predict", str(folder / "model.pt"), str(shapes), "--engine", "processes", "--device", "cpu"]
    command += ["--threshold", "0.1", "--skip-bad", "--engine.shard-size", str(SHARD)]
    reference = folder / "reference"
    paa([*command, "--engine.workers", "1", "--output", str(reference)])
    expected, found = tables(reference), {"program": 0, "helpers": 0, "runs": 0, "equal": 0}
    while found["program"] + found["helpers"] < given.kills:
        out = folder / "out"
        ended = False
        while not ended:
            mark = secrets.token_hex(8)
            program = _context.Process(
                target=work, args=([*command, "--engine.workers", "2", "--output", str(out)], mark)
            )
            program.start()
            deadline = time.monotonic() + PATIENCE
            while program.is_alive() and found["program"] + found["helpers"] < given.kills:
                assert time.monotonic() < deadline, "the program hangs"
                program.join(chance.uniform(1, 20))
                if program.is_alive():
                    victim = chance.choice([program.pid, chance.choice(helpers(mark) or [program.pid])])
                    found["program" if victim == program.pid else "helpers"] += 1
                    os.kill(victim, signal.SIGKILL)
                    program.join(0.2)
            program.join(PATIENCE)
            ended = program.exitcode in (0, 2)  # 2: one shard's worker was killed three times, which the line says
        if program.exitcode == 0:
            found["runs"] += 1
            found["equal"] += tables(out) == expected
            shutil.rmtree(out)
    line = json.dumps({"seed": given.seed, "kills": found["program"] + found["helpers"], **found})
    print(line)
    if given.output:
        with given.output.open("a") as file:
            file.write(line + "\n")
    shutil.rmtree(folder)
    raise SystemExit(found["runs"] != found["equal"])


if __name__ == "__main__":
    main()
