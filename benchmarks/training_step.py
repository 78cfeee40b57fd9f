"""How long is a training step, and how much memory does it take, against torchvision's FCOS?

A step is forward pass, assignment, losses, gradients and SGD, of R-50 detectors on images of 800 x 1333 with seven
objects each; frozen batch norm, stem and first stage not trained (benchmarks/network.py). FCOS has its defaults:
eager, float32, contiguous. Before they are timed, this project's variants must give the same losses.

- `same operations`: float32, contiguous, torch's own convolutions on both sides; for comparison only.
- `defaults (same precision, eager)`: float32, as `paa train` runs without options.                goals: 1.0, GPU 0.9
- `best settings`: bfloat16 and compiled where the device has bfloat16, else the defaults.         goals: 0.6, GPU 0.4
- `share of assignment and losses`, with their gradients, in such a step.                          goals: 3 %, GPU 5 %
- `limit`: what the step's multiplications alone would take at the rate of a matrix product.
- `peak memory`: of such a step, each side in a process of its own, model and optimizer included.  goals: 1.0, GPU 0.8

    python benchmarks/training_step.py [--device cuda] [--threads 2] [--images 1] [--repeats 5] [--compiled 1]
"""

from __future__ import annotations

import copy
import json
import multiprocessing
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.optim import SGD

from network import Images, as_it_comes, as_paa_runs, fcos_r50, paa_r50, print_limit, retinanet_r50
from paa.core.losses import LossResult, paa_losses
from paa.core.outputs import HeadOutputs
from paa.model.prepare import compile_network, prepare_for_device
from paa.predictor import PAA
from paa.runtime.device import has_bfloat16
from timing import compare, measure, parse_arguments, print_share

Step = Callable[[], object]


def optimizer(model: nn.Module) -> SGD:
    return SGD([p for p in model.parameters() if p.requires_grad], lr=1e-6, momentum=0.9, weight_decay=1e-4)


def paa_step(model: PAA, data: Images, precision: str = "float32", compiled: bool = False) -> Step:
    """Return one step of this project's detector."""
    weights, losses = optimizer(model.train()), torch.compile(paa_losses, fullgraph=True) if compiled else paa_losses

    def step() -> LossResult:
        with torch.autocast(data.images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            outputs = model(data.images, data.sizes)
        result = losses(outputs, model.anchors(outputs), data.gt_boxes, data.gt_labels)
        weights.zero_grad()
        torch.stack(list(result.losses.values())).sum().backward()
        weights.step()
        return result

    return step


def peer_step(model: nn.Module, data: Images) -> Step:
    """Return one step of a torchvision detector."""
    weights = optimizer(model.train())

    def step() -> None:
        losses = model(data.floats, data.targets)
        weights.zero_grad()
        sum(losses.values()).backward()
        weights.step()

    return step


def variant(model: PAA, name: str) -> PAA:
    """Return a copy of the plain model as a variant: plain, defaults or compiled."""
    model = copy.deepcopy(model)
    if name != "plain":
        prepare_for_device(model, channels_last=True, fast_convolutions=name == "defaults")
    if name == "compiled":
        compile_network(model, "default")
    return model


def check(plain: PAA, other: PAA, data: Images, precision: str) -> None:
    """Raise if another variant's losses are not those of the plain one."""
    expected = paa_step(copy.deepcopy(plain), data)().losses
    got = paa_step(copy.deepcopy(other), data, precision)().losses
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-3 if precision == "float32" else 5e-2, atol=0)


def loss_step(model: PAA, data: Images) -> Step:
    """Return assignment, losses and their gradients alone, for the model's outputs on the images."""
    with torch.no_grad():
        outputs = model(data.images, data.sizes)
    leaves = [t.detach().requires_grad_() for t in outputs[:3]]
    anchors = model.anchors(outputs)

    def step() -> object:
        result = paa_losses(HeadOutputs(*leaves, outputs.level_sizes), anchors, data.gt_boxes, data.gt_labels)
        return torch.autograd.grad(sum(result.losses.values()), leaves)

    return step


def resident(kind: str) -> int:
    """Return the resident set of this process in bytes: kind VmRSS for now, VmHWM for its peak."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) * 1024


def peak(side: str, images: int, device: str, threads: int, answers: multiprocessing.SimpleQueue) -> None:
    """Put the peak memory of the second of two steps into `answers`: bytes above what the process held before."""
    torch.set_num_threads(threads)
    data = Images(images, device)
    before = resident("VmRSS")
    if side == "ours":
        step = as_paa_runs(paa_step(variant(paa_r50(), "defaults").to(device), data))
    else:
        step = peer_step(fcos_r50().to(device), data)
    step()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        step()
        answers.put(torch.cuda.max_memory_allocated())
        return
    Path("/proc/self/clear_refs").write_text("5")
    step()
    answers.put(resident("VmHWM") - before)


def compare_memory(images: int, device: str, threads: int) -> None:
    """Print the JSON line of the peak memory."""
    context = multiprocessing.get_context("spawn")
    bytes_of = {}
    for side in ("ours", "peer"):
        answers = context.SimpleQueue()
        child = context.Process(target=peak, args=(side, images, device, threads, answers))
        child.start()
        child.join()
        bytes_of[side] = answers.get() if child.exitcode == 0 else None
    if None in bytes_of.values():
        raise RuntimeError("a step failed in its own process")
    line = {
        "benchmark": "training_step",
        "case": "peak memory",
        "ours_mb": round(bytes_of["ours"] / 1e6),
        "peer": "FCOS",
        "peer_mb": round(bytes_of["peer"] / 1e6),
        "memory_ratio": round(bytes_of["ours"] / bytes_of["peer"], 3),
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    """Check and time every case."""
    arguments = parse_arguments(__doc__, repeats=5, images=1, compiled=0, retinanet=1)
    device, images = arguments.device, arguments.images
    compare_memory(images, device, arguments.threads)
    data = Images(images, device)
    plain = paa_r50().to(device)
    fcos = as_it_comes(peer_step(fcos_r50().to(device), data))

    def time_step(case: str, ours: Step, peer_name: str = "FCOS", peer: Step = fcos) -> None:
        compare("training_step", case, ours, peer_name, peer, arguments, warm_up=1)

    time_step("same operations", as_it_comes(paa_step(copy.deepcopy(plain), data)))
    defaults = variant(plain, "defaults")
    check(plain, defaults, data, "float32")
    step = as_paa_runs(paa_step(defaults, data))
    bfloat16 = has_bfloat16(torch.device(device))
    best = "" if bfloat16 else "; no bfloat16 here, so the best settings too"
    time_step(f"defaults (same precision, eager{best})", step)
    losses = as_paa_runs(loss_step(plain, data))
    whole, part = (statistics.median(measure(f, arguments)) for f in (step, losses))
    print_share("training_step", "share of assignment and losses", part, "the step", whole)
    print_limit("training_step", "defaults", step, whole, device)
    print_limit("training_step", "FCOS", fcos, statistics.median(measure(fcos, arguments)), device)

    if bfloat16 or arguments.compiled:
        precision = "bfloat16" if bfloat16 else "float32"
        model = variant(plain, "compiled")
        check(plain, model, data, precision)
        compiled = as_paa_runs(paa_step(model, data, precision, compiled=True))
        time_step("best settings (bfloat16, compiled)" if bfloat16 else "compiled, float32", compiled)
        step = compiled if bfloat16 else step
    if arguments.retinanet:
        time_step("best settings", step, "RetinaNet v2", as_it_comes(peer_step(retinanet_r50().to(device), data)))


if __name__ == "__main__":
    main()
