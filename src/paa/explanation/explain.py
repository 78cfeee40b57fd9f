"""From a model and annotated images to what its assignment does with each object."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paa.assigners.geometry import strides
from paa.config import LoadingConfig
from paa.core.anchors import level_of
from paa.core.assignment import Assigner, Assignment, Cost, PaaAssigner
from paa.core.boxes import decode, iou
from paa.core.losses import assign
from paa.core.outputs import HeadOutputs
from paa.data.batch import Batch
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader
from paa.data.transforms import Resize
from paa.errors import CheckpointError
from paa.explanation.mixture import fit_objects
from paa.explanation.objects import Alternative, Candidates, Level, ObjectAssignment
from paa.model.detector import Detector
from paa.runtime.distributed import Process

_OBJECTS_AT_ONCE = 64  # whose IoU with every anchor is in memory


def explain(
    model: Detector,
    index: DatasetIndex,
    rule: Assigner = PaaAssigner(),
    what_if: Mapping[str, Assigner] | None = None,
    loading: LoadingConfig = LoadingConfig(batch_size=1),
    *,
    advance: Callable[[int], object] = lambda images: None,
    leave_out: Callable[[list[str]], object] = lambda lines: None,
) -> Iterator[ObjectAssignment]:
    """Yield what a rule makes of each object of a data set, with a model's predictions in its resized images.

    index: its labels are the model's. Crowds are no objects of an assignment. what_if: other rules by name. Images come
    by their padded size. advance: called with the number of images done since its last call; leave_out: with a line
    for each image that `loading.skip_bad` left out. ImageError for an image that cannot be read, CheckpointError for
    predictions that are not finite.
    """
    size = Resize(model.config.min_size, model.config.max_size, model.config.legacy)
    loader = eval_loader(index, size, Process(model.mean.device), loading)
    for batch in loader:
        for one in explain_batch(model, index, batch, rule, what_if):
            if not one.finite:
                raise CheckpointError(
                    f"{index.path(one.image)}: the model's predictions in this image are infinite or NaN; name a "
                    "checkpoint of an earlier step"
                )
            yield one
        advance(len(batch))
    leave_out(loader.left_out)


@torch.inference_mode()
def explain_batch(
    model: Detector,
    index: DatasetIndex,
    batch: Batch,
    rule: Assigner = PaaAssigner(),
    what_if: Mapping[str, Assigner] | None = None,
) -> list[ObjectAssignment]:
    """Return what a rule makes of each object of a batch; `explain` describes the arguments."""
    on_device = batch.to(model.mean.device)
    outputs = model(on_device.images, on_device.sizes)
    anchors = model.anchors(outputs)
    boxes, labels = on_device.gt_boxes, on_device.gt_labels
    names = list(what_if or {})
    rules = [rule, *(what_if or {}).values()]
    first, *others = assign_by(rules, outputs, anchors, boxes, labels, legacy=model.config.legacy)

    flat = first.scores.flatten(0, 1), first.num_candidates.flatten()
    mixtures = fit_objects(*flat) if isinstance(rule, PaaAssigner) else [None] * len(flat[0])
    facts = [column.cpu().numpy() for column in _facts(outputs, anchors, boxes, labels, first)]
    best = _best_overlaps(boxes, anchors).cpu()
    found = [_on_host(one) for one in (first, *others)]
    all_anchors, starts = anchors.cpu().numpy(), outputs.level_starts()
    levels, level = levels_of(outputs, anchors), level_of(torch.arange(len(anchors)), starts).numpy()

    explained = []
    for b, position in enumerate(batch.positions.tolist()):
        rows = np.arange(index.offsets[position], index.offsets[position + 1])
        for g, row in enumerate(rows[~index.crowd[rows]].tolist()):
            places, count, positives = (values[b, g] for values in found[0])
            chosen = places[:count]
            own = set(places[:positives].tolist())
            alternatives = {}
            for name, other in zip(names, found[1:]):
                theirs = other[0][b, g, : other[2][b, g]]
                alternatives[name] = Alternative(all_anchors[theirs], level[theirs], len(own & set(theirs.tolist())))
            explained.append(
                ObjectAssignment(
                    image=position,
                    row=row,
                    label=int(index.labels[row]),
                    box=batch.gt_boxes[b, g].numpy(),
                    size=tuple(batch.sizes[b].tolist()),
                    area=float(index.areas[row]),
                    levels=levels,
                    best_overlap=float(best[b, g]),
                    candidates=Candidates(
                        all_anchors[chosen], level[chosen], *(column[b, g, :count].copy() for column in facts)
                    ),
                    positives=int(positives),
                    mixture=mixtures[b * labels.shape[1] + g],
                    what_if=alternatives,
                )
            )
    return explained


def assign_by(
    rules: Sequence[Assigner], outputs: HeadOutputs, anchors: Tensor, boxes: Tensor, labels: Tensor, **options: Any
) -> list[Assignment]:
    """Return the assignment of each rule, by losses that are computed once for all of them. options: of `assign`."""
    found: list[Assignment] = []

    def all_rules(
        outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost, /
    ) -> Assignment:
        found.extend(rule(outputs, anchors, gt_boxes, gt_labels, cost) for rule in rules)
        return found[0]

    assign(outputs, anchors, boxes, labels, assigner=all_rules, **options)
    return found


def levels_of(outputs: HeadOutputs, anchors: Tensor) -> tuple[Level, ...]:
    """Return the levels of the pyramid that the outputs are of: as many, and with the strides, that the model has."""
    starts = outputs.level_starts()[:-1]
    sides, steps = (anchors[starts, 2] - anchors[starts, 0]).tolist(), strides(anchors, outputs.level_sizes)[starts]
    return tuple(Level(f"P{round(math.log2(step))}", step, side) for step, side in zip(steps.tolist(), sides))


def _facts(
    outputs: HeadOutputs, anchors: Tensor, boxes: Tensor, labels: Tensor, assignment: Assignment
) -> tuple[Tensor, ...]:
    """Return the scores, overlaps, probabilities, predicted and true IoUs of all candidates, (B, G, S) each."""
    slots = assignment.anchors
    image = torch.arange(len(slots), device=slots.device)[:, None, None]
    own = labels.clamp(min=0)[..., None].expand_as(slots)
    predicted = decode(outputs.deltas[image, slots].float(), anchors[slots])
    return (
        assignment.scores.double(),
        iou(anchors[slots], boxes[:, :, None]),
        outputs.cls_logits[image, slots, own].float().sigmoid(),
        outputs.iou_logits[image, slots].float().sigmoid(),
        iou(predicted, boxes[:, :, None]),
    )


def _best_overlaps(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return the highest IoU of each object (B, G) with any anchor."""
    parts = [iou(part[:, None], anchors).amax(1) for part in boxes.flatten(0, 1).split(_OBJECTS_AT_ONCE)]
    return torch.cat(parts).view(boxes.shape[:2])


def _on_host(assignment: Assignment) -> tuple[Any, Any, Any]:
    """Return the anchors, the numbers of candidates and of positives as numpy arrays."""
    columns = assignment.anchors, assignment.num_candidates, assignment.num_positives
    anchors, candidates, positives = (column.cpu().numpy() for column in columns)
    return anchors, candidates, positives
