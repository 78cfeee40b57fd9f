"""How much faster than a mixture per object, fitted by scikit-learn in a Python loop, is the batched assignment?

The peer follows the rules of the paper as all reference implementations do: Python loops over
images, objects and levels, one `GaussianMixture` per object on the CPU (in float64), the focal loss over all anchors
twice. It is written here from the rules alone and shares no code with the package; both sides' positives, losses and
gradients must agree, or the benchmark fails. Two images of 800 x 1344, 80 classes, n objects in each:

- `mixture n objects`: the candidates' sorted scores are given; fit, count positives.    goals: ratio 1/20, 1/30, 1/40
- `loss n objects`: from the head's outputs to the three losses, no graph.               goals: ratio 0.6, 0.35, 0.2
- `loss and gradient n objects`: the same and the gradients of the head's outputs.
- `growth`: the first two from 1 to 1,000 objects; the peer's as far as it takes less than some seconds.

On a GPU first, by the GPU's clock, after a check that the kernel decides as the CPU does and that losses and gradients
never wait for the GPU:

- `kernel 16 x 8 objects`: fit, count positives.                                         goal: 0.3 ms
- `kernel 16 x 8 objects, 100 rounds`: the same if no set converged, the most that it can take.

    python benchmarks/assignment.py [--device cuda] [--threads 2]
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from paa.core import mixture
from paa.core.losses import paa_losses
from paa.core.outputs import HeadOutputs
from scenes import Scene, decode, draw_scene, to_device
from timing import compare, device_time, grow, parse_arguments

PEER = "scikit-learn loop"
OBJECTS = (7, 20, 60)
GROWTH = (1, 3, 10, 30, 100, 300, 1000)
PEER_SECONDS = 2  # a peer that takes longer is not timed with more objects
TOP_K = 9


class PeerResult(NamedTuple):
    """The losses (classification, box, iou), and the assignment behind them.

    assigned (B, N): the object of each positive, -1 elsewhere. sets: each object's candidate scores, sorted.
    """

    losses: tuple[Tensor, Tensor, Tensor]
    assigned: Tensor
    sets: list[Tensor]


def peer_count(scores: Tensor) -> int:
    """Return how many of one object's sorted candidate scores (K,) are positive."""
    if len(scores) <= 1:
        return len(scores)
    values = scores.cpu().double().numpy()[:, None]
    gmm = GaussianMixture(
        2, weights_init=[0.5, 0.5], means_init=[[values.min()], [values.max()]], precisions_init=[[[1.0]], [[1.0]]]
    )
    gmm.fit(values)
    foreground = torch.from_numpy(gmm.predict(values) == 0)
    density = torch.from_numpy(gmm.score_samples(values))
    if not foreground.any():
        return len(scores)
    return int((foreground & (density == density[foreground].max())).nonzero()[0, 0]) + 1


def peer_match(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return the object of each anchor of one image (N,), -1 for none: IoU >= 0.1, and each object's best anchors."""
    quality = box_iou(boxes, anchors)
    highest, owner = quality.max(0)
    matched = torch.where(highest >= 0.1, owner, -1)
    best = (quality == quality.max(1).values[:, None]).nonzero()[:, 1]
    matched[best] = owner[best]
    return matched


def peer_candidates(scores: Tensor, matched: Tensor, level_starts: list[int], obj: int) -> Tensor:
    """Return the anchors of one object's candidates: on each level the 9 matched ones of lowest score."""
    chosen = []
    for start, end in itertools.pairwise(level_starts):
        inside = (matched[start:end] == obj).nonzero()[:, 0]
        if len(inside):
            _, top = scores[start:end][inside].topk(min(TOP_K, len(inside)), largest=False)
            chosen.append(inside[top] + start)
    # an object whose best anchors all fit other objects better has none
    return torch.cat(chosen) if chosen else matched.new_empty(0)


def peer_losses(outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor) -> PeerResult:
    """Assign and return the losses of a batch, one image, object and level after the other."""
    classes = outputs.cls_logits.shape[2]
    level_starts = outputs.level_starts()
    assigned, sets = [], []
    with torch.no_grad():
        for logits, deltas, boxes, labels in zip(outputs.cls_logits, outputs.deltas, gt_boxes, gt_labels):
            matched = peer_match(boxes, anchors)
            inside = (matched >= 0).nonzero()[:, 0]
            target = torch.zeros_like(logits)
            target[inside] = F.one_hot(labels[matched[inside]], classes).to(target)
            scores = sigmoid_focal_loss(logits, target, alpha=0.25, gamma=2).sum(1)
            scores[inside] += generalized_box_iou_loss(decode(deltas[inside], anchors[inside]), boxes[matched[inside]])
            positives = torch.full_like(matched, -1)
            for obj in range(len(boxes)):
                chosen = peer_candidates(scores, matched, level_starts, obj)
                ordered, order = scores[chosen].sort()
                positives[chosen[order[: peer_count(ordered)]]] = obj
                sets.append(ordered)
            assigned.append(positives)

    owner = torch.stack(assigned)
    image, anchor = (owner >= 0).nonzero(as_tuple=True)
    number = max(len(anchor), 1)
    truth, label = gt_boxes[image, owner[image, anchor]], gt_labels[image, owner[image, anchor]]
    target = torch.zeros_like(outputs.cls_logits)
    target[image, anchor, label] = 1
    classification = sigmoid_focal_loss(outputs.cls_logits, target, alpha=0.25, gamma=2, reduction="sum") / number
    predicted = decode(outputs.deltas[image, anchor], anchors[anchor])
    overlap = paired_iou(predicted.detach(), truth)
    box = 1.3 * (overlap * generalized_box_iou_loss(predicted, truth)).sum() / overlap.sum()
    logit = outputs.iou_logits[image, anchor]
    iou = 0.5 * F.binary_cross_entropy_with_logits(logit, overlap, reduction="sum") / number
    return PeerResult((classification, box, iou), owner, sets)


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of each pair of boxes (P, 4), (P, 4) -> (P,)."""
    sides = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    intersection = sides.prod(1)
    return intersection / ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - intersection)


def pad(sets: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Lay out sorted score sets as the package takes them: (G, 45) with inf behind, count (G,)."""
    count = torch.tensor([len(s) for s in sets], device=sets[0].device)
    table = sets[0].new_full((len(sets), TOP_K * 5), torch.inf)
    for row, scores in zip(table, sets):
        row[: len(scores)] = scores
    return table, count


def check(scene: Scene) -> PeerResult:
    """Raise if the two sides disagree on a positive or on a loss; return the peer's result."""
    peer, ours = peer_losses(*scene), paa_losses(*scene)
    assigned = ours.assignment.objects(len(scene.anchors))
    different = int((assigned != peer.assigned).sum())
    # scores that differ in their last bit may swap two equal candidates
    if different > 1e-3 * int((peer.assigned >= 0).sum()):
        raise AssertionError(f"{different} anchors are assigned otherwise than by the scikit-learn loop")
    for name, expected in zip(("classification", "box", "iou"), peer.losses):
        torch.testing.assert_close(ours.losses[name], expected, rtol=1e-4, atol=0, msg=lambda m, n=name: f"{n}: {m}")
    positives = torch.tensor([peer_count(s) for s in peer.sets])
    torch.testing.assert_close(mixture.count_positives(*pad(peer.sets)).cpu(), positives, rtol=0, atol=0)
    return peer


def gradients(scene: Scene, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    """Return the gradients of the summed losses of a scene whose outputs are the leaves."""
    return torch.autograd.grad(sum(paa_losses(*scene).losses.values()), leaves)


def with_leaves(scene: Scene) -> tuple[Scene, list[Tensor]]:
    """Return the scene with outputs that take a gradient, and these."""
    leaves = [t.clone().requires_grad_() for t in scene.outputs[:3]]
    return scene._replace(outputs=HeadOutputs(*leaves, scene.outputs.level_sizes)), leaves


def check_kernel(table: Tensor, count: Tensor) -> None:
    """Raise if the GPU fits a set or counts its positives otherwise than the CPU, or if the CPU stood in for it."""
    if mixture._kernel(table.device) is None:
        raise AssertionError("the kernel does not run here")
    filled = count > 0
    for ours, expected in zip(
        mixture.fit_mixtures(table[filled], count[filled]),
        mixture.fit_mixtures(table[filled].cpu(), count[filled].cpu()),
    ):
        torch.testing.assert_close(ours.cpu(), expected, rtol=1e-9, atol=1e-9)
    ours, expected = mixture.count_positives(table, count).cpu(), mixture.count_positives(table.cpu(), count.cpu())
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def check_unsynchronised(scene: Scene) -> None:
    """Raise if losses or gradients make the host wait for the GPU."""
    train, leaves = with_leaves(scene)
    gradients(train, leaves)  # kernels are built and loaded
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        gradients(train, leaves)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def kernel_times(arguments: argparse.Namespace) -> None:
    """Check and time what only a GPU runs."""
    # 64 objects in each of two images are 16 images of 8 to the mixtures
    scene = to_device(draw_scene(64, seed=64, background=-4, confidence=4, precision=0.6), arguments.device)
    check_unsynchronised(scene)
    assignment = paa_losses(*scene).assignment
    table, count = assignment.scores.flatten(0, 1), assignment.num_candidates.flatten()
    check_kernel(table, count)

    def kernel() -> Tensor:
        return mixture.count_positives(table, count)

    device_time("assignment", "kernel 16 x 8 objects", kernel, 0.0003, arguments)
    tolerance, mixture._TOLERANCE = mixture._TOLERANCE, 0.0
    device_time("assignment", "kernel 16 x 8 objects, 100 rounds", kernel, 0.0003, arguments)
    mixture._TOLERANCE = tolerance


def growth(arguments: argparse.Namespace) -> None:
    """Print a line for each number of objects: mixtures and losses, ours and the peer's."""
    given_up = set()
    for n in GROWTH:
        scene = to_device(draw_scene(n, seed=n, background=-4, confidence=4, precision=0.6), arguments.device)
        assignment = paa_losses(*scene).assignment
        table, count = assignment.scores.flatten(0, 1), assignment.num_candidates.flatten()
        sets = [row[:k] for row, k in zip(table, count.tolist())]
        curves: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "mixtures": (
                lambda table=table, count=count: mixture.count_positives(table, count),
                lambda sets=sets: [peer_count(s) for s in sets],
            ),
            "losses": (lambda scene=scene: paa_losses(*scene), lambda scene=scene: peer_losses(*scene)),
        }
        for curve, (ours, peer) in curves.items():
            grow("assignment", curve, "objects an image", n, ours, arguments)
            if curve in given_up:
                continue
            if grow("assignment", curve, "objects an image", n, peer, arguments, peer=PEER) > PEER_SECONDS:
                given_up.add(curve)


def main() -> None:
    """Check and time every case."""
    arguments = parse_arguments(__doc__, repeats=9)
    warnings.simplefilter("ignore", ConvergenceWarning)
    if arguments.device.startswith("cuda"):
        kernel_times(arguments)
    for n in OBJECTS:
        scene = to_device(draw_scene(n, seed=n, background=-4, confidence=4, precision=0.6), arguments.device)
        sets = check(scene).sets
        table, count = pad(sets)

        def ours_count(table: Tensor = table, count: Tensor = count) -> Tensor:
            return mixture.count_positives(table, count)

        def loop_count(sets: list[Tensor] = sets) -> list[int]:
            return [peer_count(s) for s in sets]

        compare("assignment", f"mixture {n} objects", ours_count, PEER, loop_count, arguments)

        def ours(scene: Scene = scene) -> None:
            paa_losses(*scene)

        def peer(scene: Scene = scene) -> None:
            peer_losses(*scene)

        compare("assignment", f"loss {n} objects", ours, PEER, peer, arguments)
        train, leaves = with_leaves(scene)

        def ours_step(train: Scene = train, leaves: list[Tensor] = leaves) -> tuple[Tensor, ...]:
            return gradients(train, leaves)

        def peer_step(train: Scene = train, leaves: list[Tensor] = leaves) -> tuple[Tensor, ...]:
            return torch.autograd.grad(sum(peer_losses(*train).losses), leaves)

        for gradient, expected in zip(ours_step(), peer_step()):
            torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-7)
        compare("assignment", f"loss and gradient {n} objects", ours_step, PEER, peer_step, arguments)
    growth(arguments)


if __name__ == "__main__":
    main()
