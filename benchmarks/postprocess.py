"""How much faster than by the reference implementations' loops are head outputs turned into voted detections?

The peer is written here from the rules alone, with the references' loops: in Python over levels and images for the
candidates, one torchvision NMS per class, a Python loop over the kept boxes for score voting. A second, faster
peer replaces the loop over classes by one batched NMS. Two images of 800 x 1344 with n objects each, 80 classes, at
most 100 detections in each; all sides' detections must agree, or the benchmark fails.

- `n objects`: two crowded images, against both peers.                              goal: ratio 0.125 of the first
- `n classes`: 60 objects, from 1 class to 1203; must not grow faster than n log n.

On a GPU also, by the GPU's clock, after a check that the host never waits for it:

- `device, n objects`: from head outputs to voted detections.                         goal: 1.5 ms

    python benchmarks/postprocess.py [--device cuda] [--threads 2]
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image, nms

from paa.core.outputs import HeadOutputs
from paa.core.postprocess import DetectedBatch, detect
from scenes import HEIGHT, NUM_CLASSES, WIDTH, decode, draw_scene, to_device
from timing import compare, device_time, parse_arguments, print_growth

OBJECTS = (20, 60, 150)
CLASSES = (1, 20, 80, 400, 1203)

Detections = list[tuple[Tensor, Tensor, Tensor]]


def peer_candidates(outputs: HeadOutputs, anchors: Tensor, sizes: list[tuple[int, int]]) -> Detections:
    """Return boxes, scores and labels of each image's candidates: the best 1000 of every level."""
    found: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in sizes]
    starts = outputs.level_starts()
    for start, end in itertools.pairwise(starts):
        probability = outputs.cls_logits[:, start:end].sigmoid()
        above = probability > 0.05
        joint = (probability * outputs.iou_logits[:, start:end].sigmoid()[..., None]).sqrt()
        for i, size in enumerate(sizes):
            scores = joint[i][above[i]]
            scores, top = scores.topk(min(1000, len(scores)), sorted=False)
            anchor, label = above[i].nonzero()[top].unbind(1)
            boxes = decode(outputs.deltas[i, start:end][anchor], anchors[start:end][anchor])
            boxes = clip_boxes_to_image(boxes, size)
            valid = (boxes[:, 2:] > boxes[:, :2]).all(1)
            found[i].append((boxes[valid], scores[valid], label[valid]))
    return [tuple(torch.cat(parts) for parts in zip(*levels)) for levels in found]


def peer_vote(kept: Tensor, kept_labels: Tensor, boxes: Tensor, scores: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the voted boxes of one image, one class and one kept box after the other."""
    result = kept.clone()
    for c in range(classes):
        same, mine = labels == c, (kept_labels == c).nonzero()[:, 0]
        boxes_c, scores_c = boxes[same], scores[same]
        overlaps = box_iou(kept[mine], boxes_c)
        for place, overlap in zip(mine, overlaps):
            near = (overlap > 0.01).nonzero()[:, 0]
            if not len(near):  # an empty box does not overlap even itself
                continue
            weights = (scores_c[near] * torch.exp(-((1 - overlap[near]) ** 2) / 0.025))[:, None]
            result[place] = (boxes_c[near] * weights).sum(0) / weights.sum(0)
    return result


@torch.inference_mode()
def peer_detect(outputs: HeadOutputs, anchors: Tensor, sizes: list[tuple[int, int]], class_loop: bool) -> Detections:
    """Return boxes, scores and labels of the 100 best detections of each image, best first."""
    classes = outputs.cls_logits.shape[2]
    results = []
    for boxes, scores, labels in peer_candidates(outputs, anchors, sizes):
        if class_loop:
            parts = []
            for c in range(classes):
                same = (labels == c).nonzero()[:, 0]
                parts.append(same[nms(boxes[same], scores[same], 0.6)])
            keep = torch.cat(parts)
        else:
            keep = batched_nms(boxes, scores, labels, 0.6)
        keep = keep[scores[keep].argsort(descending=True)[:100]]
        voted = peer_vote(boxes[keep], labels[keep], boxes, scores, labels, classes)
        results.append((voted, scores[keep], labels[keep]))
    return results


def check(ours: DetectedBatch, peer: Detections) -> None:
    """Raise if the two sides' detections differ."""
    for i, (boxes, scores, labels) in enumerate(peer):
        n = len(labels)
        torch.testing.assert_close(ours.labels[i, :n], labels, rtol=0, atol=0)
        torch.testing.assert_close(ours.scores[i, :n], scores, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.boxes[i, :n], boxes, rtol=0, atol=0.01)
        if (ours.labels[i, n:] >= 0).any():
            raise AssertionError(f"image {i}: more than the peer's {n} detections")


def check_unsynchronised(ours: Callable[[], DetectedBatch]) -> None:
    """Raise if the host waits for the GPU."""
    ours()  # kernels are built and loaded
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        ours()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def measure(case: str, objects: int, classes: int, peers: tuple[bool, ...], arguments: argparse.Namespace) -> None:
    """Check and time one case, against the peer with a loop over classes (True) or with batched NMS (False)."""
    scene = draw_scene(objects, seed=objects, background=-5.5, confidence=6, precision=0.8, classes=classes)
    outputs, anchors, _, _ = to_device(scene, arguments.device)
    sizes = [(HEIGHT, WIDTH)] * 2
    sizes_tensor = torch.tensor(sizes, device=arguments.device)

    def ours() -> DetectedBatch:
        return detect(outputs, anchors, sizes_tensor)

    for class_loop in peers:

        def peer(class_loop: bool = class_loop) -> Detections:
            return peer_detect(outputs, anchors, sizes, class_loop)

        check(ours(), peer())
        name = "NMS per class" if class_loop else "batched NMS"
        seconds, peer_seconds = compare("postprocess", case, ours, f"{name}, loop over kept boxes", peer, arguments)
        if case.endswith("classes"):
            print_growth("postprocess", "detections", "classes", classes, seconds)
            print_growth("postprocess", "detections", "classes", classes, peer_seconds, peer=name)
    if arguments.device.startswith("cuda"):
        check_unsynchronised(ours)
        device_time("postprocess", f"device, {case}", ours, 0.0015, arguments)


def main() -> None:
    """Check and time every case."""
    arguments = parse_arguments(__doc__)
    for n in OBJECTS:
        measure(f"{n} objects", n, NUM_CLASSES, (True, False), arguments)
    for n in CLASSES:
        measure(f"{n} classes", 60, n, (False,), arguments)


if __name__ == "__main__":
    main()
