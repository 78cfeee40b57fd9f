"""Assignments of MMDetection's ATSS, SimOTA and task-aligned rules on synthetic batches -> assigners/mmdet.npz.

    pip install --no-deps mmdet==3.3.0 mmengine==0.10.7 mmcv-lite==2.2.0 addict yapf platformdirs termcolor \
        terminaltables shapely      # beside torch and torchvision; nothing is compiled
    python tests/golden/make_assigner_goldens.py

Also scipy's assignment on the costs of MMDetection's own match costs, for the one-to-one rule.
"""

import sys
import types
import warnings
from pathlib import Path

import mmcv
import numpy as np
import torch

# mmdet 3.3.0 refuses mmcv 2.2.0, the only one there is for today's Python; the assigners use nothing of it.
mmcv.__version__ = "2.1.0"


class NoOperators(types.ModuleType):
    """mmcv-lite has no compiled operators, and the assigners need none; importing them must not fail."""

    def __getattr__(self, name):
        return None


sys.modules["mmcv._ext"] = NoOperators("mmcv._ext")

from mmdet.models.task_modules.assigners import ATSSAssigner, SimOTAAssigner, TaskAlignedAssigner
from mmdet.models.task_modules.assigners.match_cost import BBoxL1Cost, IoUCost
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment

LEVEL_SIZES = ((16, 24), (8, 12), (4, 6), (2, 3), (1, 2))
STRIDES = (8, 16, 32, 64, 128)
HEIGHT, WIDTH, CLASSES, SIDE = 128, 192, 4, 8
COUNTS = (6, 1, 12, 3, 25)  # objects of each image


def half(tensor):
    """Return a tensor rounded to float16, as it is stored."""
    return tensor.half().float()


def make_priors():
    """Return square anchors (N, 4) of side 8 x stride, and points with strides (N, 4) as SimOTA takes them."""
    anchors, points = [], []
    for (rows, columns), stride in zip(LEVEL_SIZES, STRIDES):
        y, x = torch.meshgrid(
            (torch.arange(rows) + 0.5) * stride, (torch.arange(columns) + 0.5) * stride, indexing="ij"
        )
        centre = torch.stack([x, y], -1).reshape(-1, 2)
        anchors.append(torch.cat([centre - SIDE * stride / 2, centre + SIDE * stride / 2], 1))
        points.append(torch.cat([centre, torch.full_like(centre, stride)], 1))
    return torch.cat(anchors), torch.cat(points)


def decode(deltas, anchors):
    """Return the boxes of deltas, (dx, dy) x 10 and (dw, dh) x 5 in units of the anchor's side."""
    side = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] / 10 * side
    size = side * (deltas[:, 2:] / 5).exp()
    return torch.cat([centre - size / 2, centre + size / 2], 1)


def encode(boxes, anchors):
    """Return the deltas of boxes: the inverse of `decode`."""
    side, size = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / 2
    return torch.cat([10 * shift / side, 5 * (size / side).log()], 1)


def main():
    warnings.simplefilter("ignore")
    random = torch.Generator().manual_seed(0)
    anchors, points = make_priors()
    n, images = len(anchors), len(COUNTS)
    logits = half(-1.5 + 1.5 * torch.randn(images, n, CLASSES, generator=random))
    deltas = torch.zeros(images, n, 4)
    out = {
        "cls_logits": logits.half().numpy(),
        "gt_boxes": np.zeros((images, max(COUNTS), 4), np.float16),
        "gt_labels": np.full((images, max(COUNTS)), -1, np.int8),
    }
    for name in ("atss", "simota", "task_aligned", "one_to_one"):
        out[name] = np.full((images, n), -1, np.int8)
    out["task_aligned_metrics"] = np.zeros((images, n), np.float32)
    out["task_aligned_targets"] = np.zeros((images, n), np.float32)
    atss, simota, tal = ATSSAssigner(topk=9), SimOTAAssigner(), TaskAlignedAssigner(topk=13)
    for i, count in enumerate(COUNTS):
        sides = torch.exp(torch.empty(count, 2).uniform_(2.08, 4.78, generator=random))
        corner = torch.rand(count, 2, generator=random) * (torch.tensor([WIDTH, HEIGHT]) - sides)
        boxes = half(torch.cat([corner, corner + sides], 1))
        labels = torch.randint(CLASSES, (count,), generator=random)
        out["gt_boxes"][i, :count], out["gt_labels"][i, :count] = boxes.half().numpy(), labels.numpy()
        # Anchors that an object overlaps predict a box near it, as those of a trained network do.
        overlap, owner = bbox_overlaps(anchors, boxes).max(1)
        deltas[i] = torch.where(overlap[:, None] > 0.1, encode(boxes[owner], anchors), 0)
        deltas[i] = half(deltas[i] + 0.6 * torch.randn(n, 4, generator=random))
        truth = InstanceData(bboxes=boxes, labels=labels)
        scores, predicted = logits[i].sigmoid(), decode(deltas[i], anchors)

        sizes = [rows * columns for rows, columns in LEVEL_SIZES]
        out["atss"][i] = atss.assign(InstanceData(priors=anchors), sizes, truth).gt_inds.numpy() - 1
        given = InstanceData(priors=points, bboxes=predicted, scores=scores)
        out["simota"][i] = simota.assign(given, truth).gt_inds.numpy() - 1

        result = tal.assign(InstanceData(priors=anchors, bboxes=predicted, scores=scores), truth)
        out["task_aligned"][i] = result.gt_inds.numpy() - 1
        out["task_aligned_metrics"][i] = result.assign_metrics.numpy()
        for g in range(count):  # as in mmdet/models/dense_heads/tood_head.py, _get_targets_single
            inds = torch.nonzero(result.gt_inds == g + 1).squeeze(1)
            if len(inds):
                metrics, ious = result.assign_metrics[inds], result.max_overlaps[inds]
                out["task_aligned_targets"][i, inds.numpy()] = (metrics / (metrics.max() + 10e-8) * ious.max()).numpy()

        given = InstanceData(bboxes=predicted)
        meta = {"img_shape": (HEIGHT, WIDTH)}
        cost = BBoxL1Cost(box_format="xywh", weight=5.0)(given, truth, meta)
        cost = cost + IoUCost(iou_mode="giou", weight=2.0)(given, truth) - scores[:, labels]
        rows, columns = linear_sum_assignment(cost.numpy())
        out["one_to_one"][i, rows] = columns
    out["deltas"] = deltas.half().numpy()
    path = Path(__file__).parent / "assigners" / "mmdet.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **out)
    positives = {name: int((out[name] >= 0).sum()) for name in ("atss", "simota", "task_aligned", "one_to_one")}
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB; positives: {positives}")


if __name__ == "__main__":
    main()
