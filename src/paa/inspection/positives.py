"""How many anchors a checkpoint's own assignment makes positive for each object of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from paa.config import LoadingConfig
from paa.core.assignment import Assigner, PaaAssigner
from paa.core.losses import assign
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader
from paa.data.transforms import Resize
from paa.inspection.anchors import image_of_rows
from paa.inspection.problems import FEW_POSITIVES, Problem, object_problem
from paa.model.detector import Detector
from paa.runtime.distributed import Process

NOT_ASSIGNED = -1


@torch.inference_mode()
def count_positives(
    index: DatasetIndex,
    model: Detector,
    resize: Resize,
    loading: LoadingConfig = LoadingConfig(),
    advance: Callable[[int], None] = lambda count: None,
    rule: Assigner = PaaAssigner(),
) -> npt.NDArray[np.int64]:
    """Return the number of positives (A,) that a rule gives each object, in images that are resized so.

    -1 for crowds, for objects of classes that the model does not know, and in images that cannot be read. advance:
    called with the number of images of each batch.
    """
    known = _labelled_for(index, model.names)
    device = model.mean.device
    counts = np.full(len(index.boxes), NOT_ASSIGNED, np.int64)
    rows = [np.flatnonzero(~known.crowd[a:b]) + a for a, b in zip(known.offsets[:-1], known.offsets[1:])]
    loading = replace(loading, skip_bad=True)  # what cannot be read is a problem of its own
    for batch in eval_loader(known, resize, Process(device), loading):
        on_device = batch.to(device)
        outputs = model(on_device.images, on_device.sizes)
        assignment = assign(
            outputs,
            model.anchors(outputs),
            on_device.gt_boxes,
            on_device.gt_labels,
            assigner=rule,
            legacy=model.config.legacy,
        )
        for position, of_image in zip(batch.positions.tolist(), assignment.num_positives.cpu().numpy()):
            counts[rows[position]] = of_image[: len(rows[position])]
        advance(len(batch))
    return counts


def few_positives_problems(
    split: str, index: DatasetIndex, counts: npt.NDArray[np.int64], fewer_than: int
) -> Iterator[Problem]:
    """Yield the objects with fewer positives than this. counts (A,): as from `count_positives`."""
    image = image_of_rows(index)
    for row in np.flatnonzero((counts >= 0) & (counts < fewer_than)).tolist():
        number = int(counts[row])
        fault = f"gets {'no positive' if not number else f'{number} positive' + ('s' if number > 1 else '')}"
        yield object_problem(FEW_POSITIVES, split, index, int(image[row]), row, fault)


def _labelled_for(index: DatasetIndex, names: tuple[str, ...]) -> DatasetIndex:
    """Return the index with the labels of a model; an object of a class that the model does not know is no target."""
    label_of = {name: label for label, name in enumerate(names)}
    labels = np.array([label_of.get(name, -1) for name in index.names], np.int64)[index.labels]
    return replace(index, labels=labels.clip(min=0), crowd=index.crowd | (labels < 0))
