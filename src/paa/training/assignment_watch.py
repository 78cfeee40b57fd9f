"""A look at the assignment every some steps: numbers for the log, candidates and pictures for the run's folder.

It looks at a few fixed images, as they are and not augmented, so that what changes from look to look is the model. It
computes no gradient, draws no random number and leaves the model as it found it: a run is the same with it and without.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from paa.config import LoadingConfig, Precision
from paa.core.assignment import Assigner
from paa.data.batch import Batch
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader
from paa.data.read_report import printable
from paa.data.transforms import Resize
from paa.explanation.explain import explain_batch
from paa.explanation.history import History, Watched, save_jpeg
from paa.explanation.objects import ObjectAssignment
from paa.explanation.picture import draw_assignment
from paa.explanation.summary import Summary, summarise
from paa.model.detector import Detector, autocast
from paa.runtime.distributed import Process
from paa.training.schedule import Schedule

_IMAGES = 4
_LEAST_INTERVAL = 50
_LOOKS = 200  # of a long run
_PICTURES = 4  # of a run

Watch = Callable[[int], dict[str, float]]
"""Called with the number of steps made so far; returns numbers for the log, none where no look is due."""


def watch_nothing(step: int) -> dict[str, float]:
    """Look at nothing."""
    return {}


def watch_interval(given: int | None, log_interval: int, schedule: Schedule) -> int:
    """Return the steps between looks, a multiple of those between lines of the log; 0: none.

    given: what a person set. By default 50, or a 200th of a long run.
    """
    steps = max(_LEAST_INTERVAL, math.ceil(schedule.steps / _LOOKS)) if given is None else given
    return math.ceil(steps / log_interval) * log_interval


def watched_images(val: DatasetIndex | None, train: DatasetIndex, most: int) -> DatasetIndex:
    """Return the images to look at: at most `most`, and four, of the validation set, else of the training set.

    They are evenly spread over the images that have an object.
    """
    for index in (val, train):
        if index is None:
            continue
        image = np.repeat(np.arange(len(index)), np.diff(index.offsets))
        useful = np.unique(image[~index.crowd])
        if len(useful):
            places = np.linspace(0, len(useful) - 1, min(len(useful), _IMAGES, max(most, 1)))
            return index.select(useful[places.round().astype(np.int64)])
    return train.select(np.zeros(0, np.int64))


def images_watched_before(history: History, val: DatasetIndex | None, train: DatasetIndex) -> DatasetIndex | None:
    """Return the images of a run's history, in their order; None where there is none, or one of them is not there."""
    watched = history.watched()
    for index in (val, train):
        if index is None or not watched:
            continue
        alike = np.flatnonzero(np.isin(index.image_ids, [one.image_id for one in watched])).tolist()
        position = {(printable(index.path(i).name), int(index.image_ids[i]), _corner(index, i)): i for i in alike}
        found = [position[key] for one in watched if (key := (one.file, one.image_id, one.corner)) in position]
        if len(found) == len(watched):
            return index.select(np.array(found, np.int64))
    return None


def _corner(index: DatasetIndex, image: int) -> tuple[int, int]:
    """Return where an image of the index begins in its file, (top, left): a tile has a place there."""
    return (0, 0) if index.windows is None else tuple(index.windows.corners[image].tolist())


class AssignmentWatch:
    """Looks at the same images at every due step; to be made in one process."""

    def __init__(
        self,
        detector: Detector,
        index: DatasetIndex,
        resize: Resize,
        rule: Assigner,
        precision: Precision,
        history: History,
        interval: int,
        steps: int,
        compiled: bool = False,
    ) -> None:
        """index: the images, read at the first look. interval: steps between looks, at least 1. steps: of the run.

        compiled: whether torch.compile runs the network.
        """
        self._detector, self._index, self._resize, self._rule = detector, index, resize, rule
        self._precision, self._compiled = precision, compiled
        self._history, self._interval, self._steps = history, interval, steps
        self._recorded = set(history.steps())
        self._batches: list[Batch] | None = None

    def __call__(self, step: int) -> dict[str, float]:
        """Look, if a look is due after so many steps and was not made yet, and return the numbers for the log."""
        if not self._is_due(step) or step in self._recorded:
            return {}
        if self._batches is None:
            self._batches = self._read()
        objects = self._look(self._batches)
        if not objects or not all(one.finite for one in objects):  # no image can be read, or the network has diverged
            return {}
        watched = _one_of_each_image(objects)
        if not self._history.objects.exists():
            self._begin(watched)
        self._history.append(step, watched)
        self._recorded.add(step)
        if step and (step == self._steps or self._quarter(step) > self._quarter(step - self._interval)):
            save_jpeg(self._picture(step, watched), self._history.picture(step))
        return _numbers(summarise(objects))

    def _is_due(self, step: int) -> bool:
        """Runs shorter than the interval are not looked at; others also before their first and after their last step.

        Which steps these are does not depend on where the run was resumed.
        """
        return self._steps >= self._interval and (step % self._interval == 0 or step == self._steps)

    def _quarter(self, step: int) -> int:
        return _PICTURES * step // self._steps

    def _read(self) -> list[Batch]:
        # one at a time: a resumed run may look at more images than it has in a part of a step
        loading = LoadingConfig(workers=0, batch_size=1, skip_bad=True)
        return list(eval_loader(self._index, self._resize, Process(torch.device("cpu")), loading))

    def _look(self, batches: list[Batch]) -> list[ObjectAssignment]:
        detector, device = self._detector, self._detector.mean.device
        detector.eval()
        try:
            with autocast(self._precision, device), self._uncompiled():
                return [one for batch in batches for one in explain_batch(detector, self._index, batch, self._rule)]
        finally:
            detector.train()

    def _uncompiled(self) -> AbstractContextManager[object]:
        """Return a context in which a compiled network runs as it is: torch would compile for minutes once more."""
        return torch.compiler.set_stance("force_eager") if self._compiled else nullcontext()

    def _begin(self, watched: list[ObjectAssignment]) -> None:
        index = self._index
        about = [
            Watched(
                printable(index.path(one.image).name),
                int(index.image_ids[one.image]),
                printable(index.names[one.label]),
                _corner(index, one.image),
            )
            for one in watched
        ]
        self._history.begin(about, watched[0].levels, [self._pixels(one) for one in watched])

    def _pixels(self, one: ObjectAssignment) -> npt.NDArray[np.uint8]:
        """Return the resized image (h, w, 3) of an object."""
        for batch in self._batches or []:
            for position, image in zip(batch.positions.tolist(), batch.images):
                if position == one.image:
                    height, width = one.size
                    return np.asarray(image[:, :height, :width].permute(1, 2, 0).numpy())
        raise ValueError(f"image {one.image} is in no batch")

    def _picture(self, step: int, watched: list[ObjectAssignment]) -> Image.Image:
        """Return one picture of all watched objects, one below the other."""
        names = [self._index.names[one.label] for one in watched]
        titles = [
            f"{printable(name)}, step {step}: {one.positives} of {len(one.candidates)} candidates are positive"
            for name, one in zip(names, watched)
        ]
        parts = [draw_assignment(self._pixels(one), one, title) for one, title in zip(watched, titles)]
        width, height = parts[0].size
        sheet = Image.new("RGB", (width, height * len(parts)))
        for row, part in enumerate(parts):
            sheet.paste(part, (0, row * height))
        return sheet


def _one_of_each_image(objects: list[ObjectAssignment]) -> list[ObjectAssignment]:
    """Return the object of middle size of each image, in the order of the images."""
    by_image: dict[int, list[ObjectAssignment]] = {}
    for one in objects:
        by_image.setdefault(one.image, []).append(one)
    middle = [sorted(found, key=lambda one: (one.area, one.row))[len(found) // 2] for found in by_image.values()]
    return sorted(middle, key=lambda one: one.image)


def _numbers(summary: Summary) -> dict[str, float]:
    """Return the numbers of a look by their names in the log; those that are undefined are left out."""
    whole, named = summary.whole, {f"positives_{size.name}": size.positives for size in summary.sizes}
    per_level = zip(summary.levels, whole.per_level or ())
    found = {
        "positives": whole.positives,
        **{f"positives_{level.name}": mean for level, mean in per_level},
        **named,
        "separation": whole.separation,
        "iou_error": whole.iou_error,
    }
    return {f"assignment_{name}": round(value, 4) for name, value in found.items() if value is not None}
