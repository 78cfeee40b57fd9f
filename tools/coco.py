"""From COCO's files to the AP that a recipe is known for: `make coco DATA=... RECIPE=r50_1x` runs this script.

It checks the data set and the weights to start from, trains with one process for each GPU, evaluates the last
checkpoint, and prints its AP beside the references'. The same command again resumes a run that was stopped.
docs/reproduce-coco.md has each step, and what to do when the AP differs.

    python tools/coco.py --data DIR --recipe r50_1x [--init FILE] [--gpus 8] [--output DIR] [options of paa train]
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.errors import ConfigError, DataError, PaaError
from paa.recipes import find_recipe
from paa.weights.formats.coco_names import COCO_NAMES
from paa.weights.read import read_start
from paa.weights.start import starting_model

PAGE = "docs/reproduce-coco.md"

log = logging.getLogger("paa")


@dataclass(frozen=True)
class Counts:
    """How much a split of COCO 2017 holds.

    with_objects: images with a box to train on. boxes: entries of the file. crowds: those that stand for a crowd. flat:
    those of height 0, which no reader can use.
    """

    images: int
    with_objects: int
    boxes: int
    crowds: int
    flat: int = 0

    def scaled(self, share: float) -> Counts:
        """Return the counts of a smaller set."""
        return Counts(*(round(share * count) for count in vars(self).values()))


TRAIN = Counts(images=118_287, with_objects=117_266, boxes=860_001, crowds=10_052, flat=2)
VAL = Counts(images=5_000, with_objects=4_952, boxes=36_781, crowds=446)

SLACK = 10
"""Boxes by which a file may differ: what is unusable depends a little on who reads it."""


@dataclass(frozen=True)
class Target:
    """What a recipe is held against. init: the weights that it is meant to start from. ap: on val2017, by reference."""

    init: str
    ap: dict[str, float]


_TORCHVISION_R50 = "torchvision/resnet50.IMAGENET1K_V1"
_TORCHVISION_R101 = "torchvision/resnet101.IMAGENET1K_V1"

TARGETS = {
    "r50_1x": Target("R-50.pkl", {"official": 40.4, "seed": 40.5}),
    "r50_1.5x": Target("R-50.pkl", {"official": 41.1}),
    "r101_2x": Target("R-101.pkl", {"official": 44.6, "seed": 44.3}),
    "r101_dcn_2x": Target("R-101.pkl", {"official": 47.1}),
    "x101_64x4d_2x": Target("X-101-64x4d.pkl", {"official": 46.4}),
    "x101_64x4d_dcn_2x": Target("X-101-64x4d.pkl", {"official": 48.8}),
    "x101_32x8d_dcn_2x": Target("X-101-32x8d.pkl", {"official": 48.9}),
    "x152_32x8d_dcn_2x": Target("X-152-32x8d-IN5k.pkl", {"official": 50.5}),
    "mmdet_r50_1x": Target(_TORCHVISION_R50, {"MMDetection": 40.4}),
    "mmdet_r50_1.5x": Target(_TORCHVISION_R50, {"MMDetection": 41.4}),
    "mmdet_r50_2x": Target(_TORCHVISION_R50, {"MMDetection": 41.6}),
    "mmdet_r50_mstrain_3x": Target(_TORCHVISION_R50, {"MMDetection": 43.3}),
    "mmdet_r101_1x": Target(_TORCHVISION_R101, {"MMDetection": 42.6}),
    "mmdet_r101_2x": Target(_TORCHVISION_R101, {"MMDetection": 43.5}),
    "mmdet_r101_mstrain_3x": Target(_TORCHVISION_R101, {"MMDetection": 45.1}),
}
"""Every recipe of the references, with their AP with score voting, in percent."""

RANDOM = "random"
"""The value of --init that starts from random weights: a rehearsal of the run, which reaches no AP."""

SPREAD = 0.2
"""AP by which two runs of the same recipe may differ, in percent."""


def check_data(data: Path, train: Counts = TRAIN, val: Counts = VAL) -> None:
    """Read both splits as training will, which fills the cache; DataError unless they are COCO 2017's, complete."""
    for split in ("train", "val"):
        for path in (data / "annotations" / f"instances_{split}2017.json", data / f"{split}2017"):
            if not path.exists():
                raise DataError(f"{path} does not exist: DATA must be a folder with COCO 2017 ({PAGE})")
    whole = read_dataset(data, "train")
    check_counts(whole, data / "annotations" / "instances_train2017.json", train)
    file = data / "annotations" / "instances_val2017.json"
    check_counts(read_dataset(data, "val", names=whole.names), file, val)
    level = log.level
    log.setLevel(logging.ERROR)  # the same lines as above
    used = read_dataset(data, "train", keep_empty=False)
    log.setLevel(level)
    log.info(f"train: the {len(used)} images with objects are trained on, as in the references")


def check_counts(index: DatasetIndex, file: Path, counts: Counts) -> None:
    """Raise DataError, with all that differs, unless a split has the images, boxes and classes of COCO's."""
    images = np.repeat(np.arange(len(index)), np.diff(index.offsets))
    found = (
        ("images", len(index), counts.images, 0),
        ("images with objects", len(np.unique(images[~index.crowd])), counts.with_objects, SLACK),
        ("boxes", len(index.boxes), counts.boxes - counts.flat, SLACK),
    )
    wrong = [f"{number} {name} and not {right}" for name, number, right, slack in found if abs(number - right) > slack]
    if index.names != COCO_NAMES:
        wrong.append("other classes")
    if wrong:
        raise DataError(f"{file}: not COCO 2017 as it is published: {', '.join(wrong)}")


def find_init(recipe: str, data: Path) -> str:
    """Return the weights that a recipe is meant to start from: a name, or a file here or beside the data."""
    init = TARGETS[recipe].init
    if "/" in init:
        return init
    for folder in (Path(), data):
        if (folder / init).is_file():
            return str(folder / init)
    raise ConfigError(f"{recipe} starts from {init}, to be fetched by hand ({PAGE}) and named: INIT=PATH/{init}")


def check_init(recipe: str, init: str) -> None:
    """Raise CheckpointError or ConfigError unless these weights can be read and suit the recipe's model."""
    model = find_recipe(recipe).model
    _, changed = starting_model(read_start(init, model.backbone), model)
    if changed:
        fields = ", ".join(f"{name} {theirs} and not {own}" for name, (own, theirs) in changed.items())
        raise ConfigError(
            f"{init}: {recipe} is meant to start from {TARGETS[recipe].init}; these weights want {fields}; "
            "paa train takes them, but no AP is known for such a run"
        )


def count_processes(device: str | None, gpus: int | None) -> int:
    """Return the number of processes: one for each GPU, or as many as were asked for; on a CPU one, or as many."""
    if device not in (None, "cuda"):
        return gpus or 1
    present = torch.cuda.device_count()
    if gpus is not None and not 1 <= gpus <= present:
        raise ConfigError(f"GPUS={gpus}: torch finds {present} GPUs here; FLAGS='--device cpu' rehearses without")
    return gpus or max(present, 1)


def describe(recipe: str, processes: int, on_gpu: bool) -> list[str]:
    """Return what the run will be, in lines."""
    schedule = find_recipe(recipe).schedule
    images = schedule.steps * schedule.reference_batch
    known = ", ".join(f"{ap} {reference}" for reference, ap in TARGETS[recipe].ap.items())
    lines = [f"{recipe}: {schedule.steps} steps of {schedule.reference_batch} images, {images} in all; AP {known}"]
    if on_gpu:
        lines.append(f"on GPUs, in {processes} processes; the log says how many seconds are left")
    else:
        lines.append(f"on the CPU, in {processes} processes: for months ({PAGE} has speeds), so for rehearsals only")
    return lines


def run(processes: int, *words: str) -> None:
    """Run a command of paa in as many processes; ends this program where the command fails."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    log.info("torchrun --nproc-per-node %d -m paa %s", processes, " ".join(words))
    process = subprocess.Popen([*torchrun, "-m", "paa", *words])
    signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
    while process.poll() is None:
        with suppress(KeyboardInterrupt):  # torchrun gets it too, and ends its processes, which must not be left alone
            process.wait()
    if process.returncode:
        sys.exit(f"paa {words[0]} ended with code {process.returncode}; the same command again resumes the run")


def verdict(recipe: str, ap: float, images: int | None = None) -> str:
    """Return a line that holds an AP (in percent) against the references'; images: evaluated, None for all."""
    known = ", ".join(f"{value} {reference}" for reference, value in TARGETS[recipe].ap.items())
    if images is not None:
        return f"AP {ap:.1f} on the first {images} images, which says nothing; the references on all: {known}"
    least = min(TARGETS[recipe].ap.values()) - SPREAD
    found = "reproduced" if ap >= least else f"lower: see 'When the AP differs' in {PAGE}"
    return f"AP {ap:.1f}; the references: {known}; {found}"


def parse_arguments(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return this script's options, and the others, which are those of paa train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with annotations/, train2017/ and val2017/")
    parser.add_argument("--recipe", default="r50_1x", choices=list(TARGETS), metavar="RECIPE", help=", ".join(TARGETS))
    parser.add_argument("--init", help=f"weights to start from, if not the recipe's own; {RANDOM}: for a rehearsal")
    parser.add_argument("--gpus", type=int, help="processes, one for each GPU; default: all GPUs")
    parser.add_argument("--output", type=Path, help="folder of the run; default: runs/coco-RECIPE")
    parser.add_argument("--device", help="cpu or cuda; default: GPUs if there are any")
    parser.add_argument("--workers", help="processes that load images, for each GPU")
    parser.add_argument("--val-num", type=int, help="evaluate on the first images only, for a rehearsal")
    return parser.parse_known_args(words)


def reproduce(arguments: argparse.Namespace, flags: list[str]) -> str:
    """Check, train, evaluate; return the verdict."""
    recipe, data = arguments.recipe, arguments.data
    output = arguments.output or Path("runs", f"coco-{recipe}")
    processes = count_processes(arguments.device, arguments.gpus)
    for line in describe(recipe, processes, arguments.device != "cpu" and torch.cuda.is_available()):
        log.info(line)
    init = arguments.init or find_init(recipe, data)
    if init != RANDOM and not (output / "last.pt").exists():  # a run that is resumed has its weights
        check_init(recipe, init)
    check_data(data)
    both = ["--data", str(data)]
    for option in ("device", "workers"):
        if (value := getattr(arguments, option)) is not None:
            both += [f"--{option}", value]
    train = ["--recipe", recipe, "--output", str(output), "--no-keep-empty", "--resume", "last"]
    train += [] if init == RANDOM else ["--init", init]
    limit = arguments.val_num
    run(processes, "train", *both, *train, *([] if limit is None else ["--val-num", str(limit)]), *flags)
    evaluation = output / "evaluation"
    of_all = [] if limit is None else ["--limit", str(limit)]
    run(processes, "eval", str(output / "last.pt"), *both, "--output", str(evaluation), *of_all)
    return verdict(recipe, 100 * json.loads((evaluation / "metrics.json").read_text())["AP"], limit)


def main() -> None:
    """Reproduce a recipe; an error is one line."""
    log.setLevel(logging.INFO)
    log.addHandler(handler := logging.StreamHandler())
    handler.setFormatter(logging.Formatter("coco: %(message)s"))
    try:
        print(reproduce(*parse_arguments(sys.argv[1:])))
    except (PaaError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command again resumes the run")


if __name__ == "__main__":
    main()
