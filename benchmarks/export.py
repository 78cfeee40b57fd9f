"""How long does an exported model take for one image, against the network that it was exported from?

Detectors with random weights, from a batch on the CPU to voted detections: each form of `paa export` against eager
PyTorch as `paa.load` gives it and against `optimise("float32")`, all in this process and on the same number of threads.
All compute in float32 but for OpenVINO's INT8. Before they are timed, the detections of those in float32 must agree.
                                                                               goal: at most 1.0 of `optimise`

- `small`: what the recipe `auto` makes on a CPU, EfficientNet-Lite0, 64 channels, one image of 256 x 352.
- `R-50`: one image of 800 x 1333, 256 channels, 80 classes.

On a busy machine, `--threads 1 --cpu-time 1` counts processor time, which other processes do not lengthen.

    python benchmarks/export.py [--threads 2] [--repeats 7] [--case small] [--cpu-time 1]
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import network
from paa.config import LoadingConfig, ModelConfig
from paa.data.batch import padded_size
from paa.data.read import read_dataset
from paa.data.shapes import make_shapes
from paa.export.calibration import Calibration
from paa.export.choose import form_of
from paa.export.description import Description
from paa.model.prepare import prepare_for_device
from paa.predictor import PAA, load
from timing import compare_all, parse_arguments


def small() -> tuple[PAA, tuple[int, int]]:
    """Return a detector of the recipe `auto`, and the size of an image."""
    torch.manual_seed(0)
    config = ModelConfig(
        "timm/tf_efficientnet_lite0", norm="affine", channels=64, anchor_scale=6.0, min_size=256, max_size=427
    )
    return PAA(config, ("a", "b", "c")), (256, 341)


def r50() -> tuple[PAA, tuple[int, int]]:
    """Return the paper's detector, and the size of an image."""
    return network.paa_r50(), (network.HEIGHT, network.WIDTH)


CASES: dict[str, Callable[[], tuple[PAA, tuple[int, int]]]] = {"small": small, "R-50": r50}


def spread_logits(model: PAA) -> None:
    """Scale random weights, so that some hundred anchors are above the threshold, as in an image with objects."""
    with torch.no_grad():
        model.head.cls_logits.weight *= 20


def run_of(model: PAA, images: Tensor, sizes: Tensor) -> Callable[[], object]:
    """Return the function that detects in the batch."""
    return lambda: model.detect(images, sizes, model.inference)


def check(model: PAA, exported: PAA, images: Tensor, sizes: Tensor) -> None:
    """Raise unless both find the same, and something at all."""
    expected, found = (each.detect(images, sizes, each.inference) for each in (model, exported))
    both = (expected.labels >= 0) & (expected.labels == found.labels)
    if not both.sum() >= 0.9 * max(10, int((expected.labels >= 0).sum())):
        raise AssertionError("the exported model detects something else")


def forms(model: PAA, folder: Path) -> dict[str, PAA]:
    """Return the model exported in every form, by the form's name."""
    description = Description(model.names, model.config)
    index = read_dataset(make_shapes(folder / "shapes", 8))
    exported: dict[str, PAA] = {}
    for name, file, precision in (
        ("ONNX Runtime", "model.onnx", "float32"),
        ("OpenVINO", "model.xml", "float32"),
        ("OpenVINO, INT8", "int8.xml", "int8"),
        ("compiled ahead", "model.pt2", "float32"),
    ):
        calibration = Calibration(index, 2, loading=LoadingConfig(workers=0)) if precision == "int8" else None
        path = folder / file
        form_of(path).write(path, model, replace(description, precision=precision), calibration)
        exported[name] = load(path)
    return exported


def main() -> None:
    """Check and time every case."""
    arguments = parse_arguments(__doc__, repeats=7, case="all", cpu_time=0)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    for name, make in CASES.items():
        if arguments.case not in ("all", name):
            continue
        plain, size = make()
        plain.eval()
        spread_logits(plain)
        random = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (1, 3, *padded_size([size])), dtype=torch.uint8, generator=random)
        sizes = torch.tensor([size])
        with tempfile.TemporaryDirectory() as folder:
            exported = forms(plain, Path(folder))
            for form, model in exported.items():
                if "INT8" not in form:
                    check(plain, model, images, sizes)
            peers = {"optimise": run_of(copy.deepcopy(plain).optimise("float32"), images, sizes)}
            prepare_for_device(plain, channels_last=True, fast_convolutions=True)
            peers["eager"] = run_of(plain, images, sizes)
            ours = {f"{name}, {form}": run_of(model, images, sizes) for form, model in exported.items()}
            compare_all("export", ours, peers, arguments, clock=clock)


if __name__ == "__main__":
    main()
