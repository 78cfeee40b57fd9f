"""From head outputs to detections (paper, §3.3 and §3.4): candidates, NMS, score voting."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from paa.core.boxes import clip, iou
from paa.core.outputs import HeadOutputs
from paa.core.selection import Candidates, select_candidates
from paa.core.suppression import suppress


class DetectedBatch(NamedTuple):
    """The K best boxes of each of B images, best first.

    boxes (B, K, 4): continuous xyxy pixels of the batch; scores (B, K); labels (B, K): int64, -1 after the last box.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def score_voting(
    kept: Tensor, candidates: Tensor, scores: Tensor, sigma: float = 0.025, min_iou: float = 0.01
) -> Tensor:
    """Replace each kept box by the weighted mean of the candidates that overlap it (paper, §3.4).

    kept (..., 4), continuous xyxy pixels. candidates (..., M, 4): for each kept box, those of its image and class.
    scores (..., M): of the candidates, 0 in an empty slot. A candidate of IoU > min_iou has the weight
    score x exp(-(1 - IoU)^2 / sigma). Returns (..., 4); a box that no candidate overlaps is unchanged.
    """
    overlap = iou(kept[..., None, :], candidates)
    weights = torch.where(overlap > min_iou, scores * torch.exp(-(1 - overlap).square() / sigma), 0.0)
    mass = weights.sum(-1)[..., None]
    # no matrix product: autocast would round the boxes to bfloat16
    mean = (weights[..., None] * candidates).sum(-2) / mass.clamp(min=torch.finfo(mass.dtype).tiny)
    return torch.where(mass > 0, mean, kept)


@torch.inference_mode()
def detect(
    outputs: HeadOutputs,
    anchors: Tensor,
    sizes: Tensor,
    *,
    voting: bool = True,
    threshold: float = 0.05,
    threshold_joint: bool = False,
    nms_iou: float = 0.6,
    limit: int = 100,
    per_level: int = 1000,
    legacy: bool = False,
) -> DetectedBatch:
    """Return the detections of a batch.

    anchors (N, 4); sizes (B, 2): (height, width) to which each image's boxes are clipped. The score of an
    (anchor, class) is sqrt(class probability x predicted IoU). Candidates have a class probability (with
    `threshold_joint`, as in MMDetection, a score) above `threshold` and are among the `per_level` best of their level.
    NMS per class at `nms_iou` keeps at most `limit` of each image. voting: replace the boxes by `score_voting`. legacy:
    boxes outside their image are clipped to a pixel and kept, as in the seed and the official code. On a CUDA device
    the host waits for nothing.
    """
    candidates = select_candidates(outputs, anchors, sizes, threshold, threshold_joint, per_level, legacy)
    return suppress_and_vote(candidates, sizes, voting=voting, nms_iou=nms_iou, limit=limit, legacy=legacy)


def suppress_and_vote(
    candidates: Candidates, sizes: Tensor, *, voting: bool, nms_iou: float, limit: int, legacy: bool = False
) -> DetectedBatch:
    """Return the best candidates of each image after NMS, their boxes the result of `score_voting` with `voting`.

    sizes (B, 2): (height, width) of each image; the other arguments are those of `detect`.
    """
    boxes, scores, labels = candidates
    if labels.shape[1] == 0 or limit == 0:
        shape = (len(labels), limit)
        return DetectedBatch(boxes.new_zeros(*shape, 4), scores.new_zeros(shape), labels.new_full(shape, -1))
    kept = suppress(boxes, labels, nms_iou, limit)
    valid = kept >= 0
    kept = kept.clamp(min=0)
    result = boxes.gather(1, kept[..., None].expand(-1, -1, 4))
    kept_labels = torch.where(valid, labels.gather(1, kept), -1)
    if voting:
        voters = _voters if boxes.device.type == "cpu" else _all_as_voters
        voted = score_voting(result, *voters(candidates, kept_labels))
        result = clip(voted, sizes[:, None], legacy)  # a mean of clipped boxes is inside the image except for rounding
    return DetectedBatch(
        torch.where(valid[..., None], result, 0.0), torch.where(valid, scores.gather(1, kept), 0.0), kept_labels
    )


def _all_as_voters(candidates: Candidates, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return all candidates for each of K labels (B, K): boxes (B, 1, M, 4), scores (B, K, M), 0 for other classes."""
    same = labels[..., None] == candidates.labels[:, None]
    return candidates.boxes[:, None], torch.where(same, candidates.scores[:, None], 0.0)


def _voters(candidates: Candidates, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the candidates of the class of each of K labels (B, K): boxes (B, K, W, 4) and scores (B, K, W).

    W is the size of the largest of these classes: for a CPU a hundredth of the work of `_all_as_voters`.
    """
    b, m = candidates.labels.shape
    ordered, members = candidates.labels.sort(dim=1)
    first = torch.searchsorted(ordered, labels)
    count = torch.where(labels >= 0, torch.searchsorted(ordered, labels, right=True) - first, 0)[..., None]
    position = torch.arange(int(count.max()), device=labels.device)
    table = (first[..., None] + position).clamp(max=m - 1)
    row = torch.arange(b, device=labels.device)[:, None] * m
    table = (members + row).flatten().index_select(0, (table + row[..., None]).flatten())
    scores = candidates.scores.flatten().index_select(0, table).view(*labels.shape, -1)
    # all x1 in memory, then all y1, x2 and y2, which makes the IoUs twice as fast
    sides = candidates.boxes.flatten(0, 1).t().contiguous().index_select(1, table)
    return sides.view(4, *labels.shape, -1).permute(1, 2, 3, 0), torch.where(position < count, scores, 0.0)
