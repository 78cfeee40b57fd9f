"""How long does one image take, from pixels to voted detections, against torchvision's FCOS and RetinaNet?

R-50 detectors with random weights (benchmarks/network.py) on one image of 800 x 1333, float32 in FCOS and RetinaNet,
which run with their defaults. So that both sides have detections to sort out, class logits are spread until some
hundred anchors are above the threshold. Before they are timed, this project's settings must give the same head outputs.

- `same operations`: eager, float32, contiguous, torch's own convolutions, with voting; for comparison only.
- `defaults`: as `paa.load` gives it.
- `best settings`: as `model.optimise()` gives it, compiled where the device has bfloat16.          goals: 0.5, GPU 0.35
- `limit`: what the multiplications alone would take at the rate of a matrix product.

    python benchmarks/inference.py [--device cuda] [--threads 2] [--repeats 7] [--compiled 1]
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable

import torch
from torch import nn

from network import Images, as_it_comes, as_paa_runs, fcos_r50, paa_r50, print_limit, retinanet_r50
from paa.model.prepare import prepare_for_device
from paa.predictor import PAA
from paa.runtime.device import has_bfloat16
from timing import compare, measure, parse_arguments

Run = Callable[[], object]


def spread_logits(layer: nn.Module, factor: float) -> None:
    """Scale a random classifier's weights, so that some of its probabilities are high."""
    with torch.no_grad():
        layer.weight *= factor


def paa_run(model: PAA, data: Images) -> Run:
    """Return the function that detects in one image."""

    def run() -> object:
        return [t.cpu() for t in model.detect(data.images, data.sizes, model.inference)]

    return run


def peer_run(model: nn.Module, data: Images) -> Run:
    """Return the function that detects in one image by one of torchvision's detectors."""
    model.eval()

    @torch.inference_mode()
    def run() -> object:
        return [{name: t.cpu() for name, t in found.items()} for found in model(data.floats)]

    return run


def check(plain: PAA, other: PAA, data: Images) -> None:
    """Raise if the head outputs of a model with other settings are not those of the plain one."""
    with torch.inference_mode():
        expected = plain(data.images, data.sizes)
        with torch.autocast(data.images.device.type, torch.bfloat16, enabled=other.inference.precision == "bfloat16"):
            got = other(data.images, data.sizes)
    tolerance = 1e-3 if other.inference.precision == "float32" else 0.1
    for ours, theirs in zip(got[:3], expected[:3]):
        error = float((ours - theirs).abs().max() / theirs.abs().max())
        if not error <= tolerance:
            raise AssertionError(f"head outputs differ by {error:.2g} of the largest")


def main() -> None:
    """Check and time every case."""
    arguments = parse_arguments(__doc__, repeats=7, compiled=0)
    device = arguments.device
    data = Images(1, device)
    plain = paa_r50().to(device).eval()
    spread_logits(plain.head.cls_logits, 8)
    fcos, retinanet = fcos_r50().to(device), retinanet_r50().to(device)
    for peer in (fcos, retinanet):
        spread_logits(peer.head.classification_head.cls_logits, 8)
    fcos_run = as_it_comes(peer_run(fcos, data))
    compare("inference", "same operations", as_it_comes(paa_run(plain, data)), "FCOS", fcos_run, arguments, warm_up=1)

    defaults = copy.deepcopy(plain)
    prepare_for_device(defaults, channels_last=True, fast_convolutions=True)
    check(plain, defaults, data)
    compare("inference", "defaults", as_paa_runs(paa_run(defaults, data)), "FCOS", fcos_run, arguments, warm_up=1)
    bfloat16 = has_bfloat16(torch.device(device))
    best = copy.deepcopy(plain).optimise("auto", "default" if bfloat16 or device.startswith("cuda") else "off")
    check(plain, best, data)
    name = "best settings (bfloat16, compiled)" if bfloat16 else "best settings (optimise)"
    best_run, retinanet_run = as_paa_runs(paa_run(best, data)), as_it_comes(peer_run(retinanet, data))
    compare("inference", name, best_run, "FCOS", fcos_run, arguments, warm_up=1)
    compare("inference", name, best_run, "RetinaNet v2", retinanet_run, arguments, warm_up=1)
    uncompiled = copy.deepcopy(plain).optimise("auto")  # with the same operations, which can be counted
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    best_s, fcos_s = (statistics.median(measure(run, arguments)) for run in (best_run, fcos_run))
    print_limit("inference", name, paa_run(uncompiled, data), best_s, device, dtype)
    print_limit("inference", "FCOS", fcos_run, fcos_s, device)
    if arguments.compiled:
        compiled = copy.deepcopy(plain).optimise("float32", "default")
        check(plain, compiled, data)
        compare(
            "inference",
            "compiled, float32",
            as_paa_runs(paa_run(compiled, data)),
            "FCOS",
            fcos_run,
            arguments,
            warm_up=1,
        )


if __name__ == "__main__":
    main()
