"""All rules on the outputs of one model: what each costs, and how far they agree on the positives."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from paa.config import LoadingConfig
from paa.core.assignment import Assigner, Assignment, Cost, PaaAssigner
from paa.core.losses import assign
from paa.core.outputs import HeadOutputs
from paa.data.batch import Batch
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader
from paa.data.transforms import Resize
from paa.errors import DataError
from paa.model.detector import Detector
from paa.runtime.distributed import Process
from paa.runtime.peak_memory import peak_memory

_IMAGES = 64
_WARM_UP, _ROUNDS = 3, 15
_REFERENCE = "PAA, as the paper has it"


@dataclass(frozen=True)
class RuleCost:
    """What a rule costs for one batch, without the losses: medians of rounds in which all rules took turns.

    quartiles: of the milliseconds. ratio: to PAA with the paper's numbers. megabytes: by how much the memory rises
    while the rule runs, None where that cannot be measured.
    """

    milliseconds: float
    quartiles: tuple[float, float]
    ratio: float
    megabytes: float | None


@dataclass(frozen=True)
class Compared:
    """All rules on the outputs of one model for the same images to train on.

    batch: images at a time; size: (height, width) of the batch; anchors: of an image. positives: of an object, mean, by
    rule. overlap: for each pair of rules, in their order, the Jaccard index of their sets of positive (anchor, object)
    pairs. costs: by rule. by_process_time: whether times are this process's own.
    """

    images: int
    objects: int
    batch: int
    size: tuple[int, int]
    anchors: int
    positives: dict[str, float]
    overlap: tuple[tuple[float, ...], ...]
    costs: dict[str, RuleCost]
    by_process_time: bool


@dataclass(frozen=True)
class RuleComparison:
    """What was compared on the model of a cell, `model`.

    rules: name -> what the study's file says. sources: name of a rule of one's own -> the SHA-256 of its file.
    """

    data: str
    epochs: float
    model: str
    rules: dict[str, str]
    found: Compared
    sources: dict[str, str] = field(default_factory=dict)


@torch.no_grad()
def compare_on(
    detector: Detector,
    index: DatasetIndex,
    rules: Mapping[str, Assigner],
    batch_size: int,
    process: Process,
    skip_bad: bool = False,
) -> Compared:
    """Compare rules on a detector's outputs for images that it trains on, whole and unchanged, at its own size.

    skip_bad: leave out images that cannot be read; ImageError otherwise.
    """
    config = detector.config
    sample = np.unique(np.linspace(0, len(index) - 1, min(_IMAGES, len(index))).astype(np.int64))
    resize = Resize(config.min_size, config.max_size, config.legacy)
    loading = LoadingConfig(workers=0, batch_size=batch_size, skip_bad=skip_bad)
    names, together = list(rules), np.zeros((len(rules), len(rules)))
    images, objects, largest = 0, 0, None
    for batch in eval_loader(index.select(sample), resize, process, loading):
        moved = batch.to(process.device)
        outputs = detector(moved.images, moved.sizes)
        owners = [_assign(detector, outputs, moved, rule).objects(outputs.deltas.shape[1]) for rule in rules.values()]
        for i, one in enumerate(owners):
            for j, other in enumerate(owners):
                together[i, j] += int(((one == other) & (one >= 0)).sum())
        images += len(moved)
        objects += int((moved.gt_labels >= 0).sum())
        if largest is None or len(moved) > len(largest[1]):
            largest = outputs, moved
    if largest is None:
        raise DataError(f"{index.root}: none of the {len(sample)} images to compare rules on can be read")
    count = together.diagonal()
    union = np.maximum(count[:, None] + count - together, 1)
    outputs, moved = largest
    by_process_time = process.device.type == "cpu" and torch.get_num_threads() == 1
    return Compared(
        images=images,
        objects=objects,
        batch=len(moved),
        size=(moved.images.shape[2], moved.images.shape[3]),
        anchors=outputs.deltas.shape[1],
        positives={name: float(number) / max(objects, 1) for name, number in zip(names, count)},
        overlap=tuple(tuple(row) for row in (together / union).round(4).tolist()),
        costs=_costs(detector, outputs, moved, rules, by_process_time),
        by_process_time=by_process_time,
    )


class _Timed:
    """A rule that notes how long each call takes, without the losses around it."""

    def __init__(self, rule: Assigner, by_process_time: bool) -> None:
        self.rule, self.clock = rule, time.process_time if by_process_time else time.perf_counter
        self.seconds: list[float] = []
        self.bytes: int | None = None
        self.measures_memory = False

    def __call__(
        self, outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost, /
    ) -> Assignment:
        if self.measures_memory:
            found, self.bytes = peak_memory(
                lambda: self.rule(outputs, anchors, gt_boxes, gt_labels, cost), anchors.device
            )
            return found
        _wait(anchors.device)
        begin = self.clock()
        found = self.rule(outputs, anchors, gt_boxes, gt_labels, cost)
        _wait(anchors.device)
        self.seconds.append(self.clock() - begin)
        return found


def _costs(
    detector: Detector, outputs: HeadOutputs, batch: Batch, rules: Mapping[str, Assigner], by_process_time: bool
) -> dict[str, RuleCost]:
    timed = {name: _Timed(rule, by_process_time) for name, rule in {**rules, _REFERENCE: PaaAssigner()}.items()}
    for i in range(_WARM_UP + _ROUNDS):
        for rule in list(timed.values())[:: 1 if i % 2 else -1]:  # no rule always finds the same one's caches
            _assign(detector, outputs, batch, rule)
    for rule in timed.values():
        rule.measures_memory = True
        _assign(detector, outputs, batch, rule)
    reference = statistics.median(timed[_REFERENCE].seconds[_WARM_UP:])
    costs = {}
    for name in rules:
        low, middle, high = statistics.quantiles(timed[name].seconds[_WARM_UP:], n=4, method="inclusive")
        peak = timed[name].bytes
        costs[name] = RuleCost(
            round(1000 * middle, 3),
            (round(1000 * low, 3), round(1000 * high, 3)),
            round(middle / reference, 3),
            None if peak is None else round(peak / 2**20, 2),
        )
    return costs


def _assign(detector: Detector, outputs: HeadOutputs, batch: Batch, rule: Assigner) -> Assignment:
    anchors, legacy = detector.anchors(outputs), detector.config.legacy
    return assign(outputs, anchors, batch.gt_boxes, batch.gt_labels, assigner=rule, legacy=legacy)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
