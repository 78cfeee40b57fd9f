"""Distillation of the assignment: a trained detector decides which anchors are positive for the one that is trained.

Label assignment distillation (LAD: Nguyen et al. 2021, arXiv 2108.10520): the teacher sees the student's batch, and the
rule chooses by the teacher's predictions. The student is trained by its own losses on that assignment.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paa.config import Precision
from paa.core import Assigner, Assignment, HeadOutputs, assign
from paa.core.assignment import Cost
from paa.data.batch import Batch
from paa.errors import CheckpointError, ConfigError
from paa.model.detector import PADDING, Detector, autocast
from paa.model.prepare import compile_network, prepare_for_device
from paa.runtime.files import sha256
from paa.training.settings import TrainConfig
from paa.weights.hosted import local_file
from paa.weights.read import read_weights
from paa.weights.start import load_start

_ANCHOR_FIELDS = ("first_level", "anchor_scale", "anchor_offset", "legacy")
"""The fields of `ModelConfig` that decide where anchors lie and how boxes are compared."""

_NAMED = 5  # classes in a message


@dataclass(frozen=True)
class Given:
    """The rule of one batch whose assignment is known already."""

    assignment: Assignment

    def __call__(
        self, outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost, /
    ) -> Assignment:
        """Return the assignment."""
        return self.assignment


@dataclass(frozen=True)
class Teacher:
    """A trained detector, in evaluation mode and without gradients, and the rule that chooses by its predictions."""

    detector: Detector
    rule: Assigner
    precision: Precision

    @torch.no_grad()
    def assign(self, batch: Batch) -> Given:
        """Return a batch's assignment, as the rule for the student's losses."""
        with autocast(self.precision, batch.images.device):
            outputs = self.detector(batch.images, batch.sizes)
        anchors, legacy = self.detector.anchors(outputs), self.detector.config.legacy
        return Given(assign(outputs, anchors, batch.gt_boxes, batch.gt_labels, assigner=self.rule, legacy=legacy))


def make_teacher(config: TrainConfig, student: Detector, rule: Assigner, precision: Precision) -> Teacher | None:
    """Return the run's teacher, ready on the student's device; None in a run without one.

    student: on its device. precision: what the run computes in. CheckpointError if the teacher cannot be read,
    ConfigError if it does not fit: its anchors must be the student's, and its classes too, in whatever order.
    """
    path = config.recipe.teacher
    if path is None:
        return None
    weights = read_weights(Path(path))
    _check_classes(path, weights.class_names(), student.names)
    _check_anchors(path, vars(weights.config), vars(student.config))
    detector = Detector(weights.config, student.names)
    load_start(detector, weights)  # by the names of the classes
    detector.requires_grad_(False).eval().to(student.mean.device)
    runtime = config.runtime
    fast = runtime.fast_convolutions and runtime.compile == "off" and precision == "float32"
    prepare_for_device(detector, channels_last=runtime.channels_last, fast_convolutions=fast)
    _check_levels(path, detector, student)
    compile_network(detector, runtime.compile)
    return Teacher(detector, rule, precision)


def teacher_identity(path: str | None) -> str | None:
    """Return what tells a teacher from another, wherever its file lies; CheckpointError if there is no such file."""
    if path is None:
        return None
    file = local_file(path)
    try:
        return f"SHA-256 {sha256(file)[:16]}"
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror})") from error


def _check_classes(path: str, theirs: tuple[str, ...] | None, ours: tuple[str, ...]) -> None:
    """Raise ConfigError unless both have the same classes, in any order; theirs: None for classes without names."""
    if theirs is None:
        raise ConfigError(f"{path}: a teacher's classes need names: give them by paa convert --names")
    missing, others = ([name for name in a if name not in b] for a, b in ((ours, theirs), (theirs, ours)))
    if missing or others:
        parts = [
            f"{what} {', '.join(map(repr, names[:_NAMED]))}{', ...' if len(names) > _NAMED else ''}"
            for what, names in (("lacks", missing), ("also knows", others))
            if names
        ]
        raise ConfigError(f"{path}: a teacher needs the classes of the data set, but it {' and '.join(parts)}")


def _check_anchors(path: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raise ConfigError unless the fields that decide on anchors are the same."""
    different = [name for name in _ANCHOR_FIELDS if theirs[name] != ours[name]]
    if different:
        said = ", ".join(f"{name} {theirs[name]}, not {ours[name]}" for name in different)
        options = " ".join(_option(name, theirs[name]) for name in different)
        raise ConfigError(f"{path}: a teacher needs the anchors of the student, but it has {said}: give {options}")


def _option(field: str, value: float | bool) -> str:
    """Return the option of `paa train` that gives a field of the model a value."""
    name = field.replace("_", "-")
    return f"--model.{'' if value else 'no-'}{name}" if isinstance(value, bool) else f"--model.{name} {value}"


@torch.no_grad()
def _check_levels(path: str, teacher: Detector, student: Detector) -> None:
    """Raise ConfigError unless both have the same anchors on a small blank image."""
    blank = torch.zeros((1, 3, PADDING, PADDING), dtype=torch.uint8, device=student.mean.device)
    sizes = torch.full((1, 2), PADDING, device=blank.device)
    training = student.training
    outputs = [detector(blank, sizes) for detector in (teacher, student.eval())]
    student.train(training)
    levels = [each.level_sizes for each in outputs]
    if levels[0] != levels[1] or not torch.equal(teacher.anchors(outputs[0]), student.anchors(outputs[1])):
        raise ConfigError(
            f"{path}: a teacher needs the anchors of the student, but its levels are others: {len(levels[0])}, of "
            f"{levels[0][0]} cells at the finest for {PADDING} pixels, not {len(levels[1])}, of {levels[1][0]}"
        )
