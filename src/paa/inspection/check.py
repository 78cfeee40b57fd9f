"""Every problem of a data set: what its reader finds, images, duplicates, classes, sizes, and the assignment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np

from paa.config import LoadingConfig, ModelConfig
from paa.core.assignment import Assigner, PaaAssigner
from paa.data.all_splits import Source, SplitRead, split_reads
from paa.data.index import DatasetIndex
from paa.data.read_report import first_few
from paa.data.transforms import Resize
from paa.inspection.anchors import anchor_problems
from paa.inspection.classes import class_problems
from paa.inspection.duplicates import Seen, duplicate_problems
from paa.inspection.images import look_at_images
from paa.inspection.positives import count_positives, few_positives_problems
from paa.inspection.problems import (
    CLASSES,
    DAMAGED_IMAGE,
    SUSPECT,
    UNREADABLE_IMAGE,
    UNREADABLE_SPLIT,
    UNUSABLE,
    Problem,
)
from paa.model.detector import Detector

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Shows how far a task is: its name and how many images it has -> a context with a function that advances it."""


@dataclass(frozen=True)
class Limits:
    """From where on a property of an object is a problem.

    small: side in pixels of the resized image, below which an object is very small. positives: fewer than this are few.
    """

    small: float = 8.0
    positives: int = 1


@dataclass(frozen=True)
class Positives:
    """The numbers of positives of a split's objects, by a checkpoint: objects, median, least and most."""

    objects: int
    median: float
    least: int
    most: int


@dataclass(frozen=True)
class Checked:
    """What a check found. splits: those that could be read. positives: by split, if a checkpoint was given."""

    splits: dict[str, DatasetIndex]
    problems: list[Problem]
    positives: dict[str, Positives] = field(default_factory=dict)

    def count(self, level: str) -> int:
        """Return how many problems are of a level."""
        return sum(problem.kind.level == level for problem in self.problems)


def _no_progress(name: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda count: None)


def read_for_check(source: Source) -> list[SplitRead]:
    """Read the splits of a data set, with all that is wrong in them.

    Raises the DataError of the first where no split can be read, for another reason than that all of it is unusable.
    """
    reads = list(split_reads(source, skip_bad=True, detailed=True))
    errors = [read.error for read in reads if read.error is not None and not read.report.left_out]
    if len(errors) == len(reads):
        raise errors[0]
    return reads


def check_splits(
    reads: Sequence[SplitRead],
    config: ModelConfig,
    *,
    model: Detector | None = None,
    rule: Assigner = PaaAssigner(),
    limits: Limits = Limits(),
    decode: bool = True,
    loading: LoadingConfig = LoadingConfig(),
    progress: Progress = _no_progress,
) -> Checked:
    """Return every problem of the splits that were read.

    config: whose sizes and anchors training has. model: a detector, on its device, of whose assignment by the rule the
    positives are counted too. decode: decode all images. loading: how many of its workers decode, and the batches of
    the model.
    """
    splits = {read.name: read.index for read in reads if read.index is not None}
    problems = [problem for read in reads for problem in _read_problems(read)]
    problems += class_problems(splits)
    seen: list[Seen] = []
    for split, index in splits.items():
        with progress(f"images of {split}", len(index)) as advance:
            facts = look_at_images(index, decode, loading.workers, advance)
        seen += [Seen(split, index.path(i), int(index.image_ids[i]), fact) for i, fact in enumerate(facts)]
    problems += [problem for image in seen for problem in _image_problems(image)]
    problems += duplicate_problems(seen)
    for split, index in splits.items():
        problems += anchor_problems(split, index, config, limits.small)
    positives: dict[str, Positives] = {}
    resize = Resize(config.min_size, config.max_size, config.legacy)
    for split, index in splits.items() if model is not None else ():
        assert model is not None
        problems += _unknown_classes(split, index, model)
        with progress(f"positives of {split}", len(index)) as advance:
            counts = count_positives(index, model, resize, loading, advance, rule)
        problems += few_positives_problems(split, index, counts, limits.positives)
        if len(counted := counts[counts >= 0]):
            positives[split] = Positives(
                len(counted), float(np.median(counted)), int(counted.min()), int(counted.max())
            )
    return Checked(splits, problems, positives)


def _read_problems(read: SplitRead) -> Iterator[Problem]:
    """Yield what the reader of a split found."""
    if read.error is not None:
        yield Problem(UNREADABLE_SPLIT, read.name, str(read.error))
    yield from (Problem(UNUSABLE, read.name, line) for line in read.report.left_out)
    yield from (Problem(SUSPECT, read.name, line) for line in read.report.warnings)


def _image_problems(image: Seen) -> Iterator[Problem]:
    if image.facts.error:
        yield Problem(UNREADABLE_IMAGE, image.split, image.facts.error, str(image.path), image.image_id)
    for remark in image.facts.remarks:
        yield Problem(DAMAGED_IMAGE, image.split, remark, str(image.path), image.image_id)


def _unknown_classes(split: str, index: DatasetIndex, model: Detector) -> Iterator[Problem]:
    unknown = [name for name in index.names if name not in model.names]
    if unknown:
        yield Problem(CLASSES, split, f"{split} has classes that the checkpoint does not know: {first_few(unknown)}")
