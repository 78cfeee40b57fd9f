"""What a run reports: records to a listener while it trains, and a result at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from paa.core.assignment import Assignment
from paa.core.outputs import HeadOutputs
from paa.data.batch import Batch

Record = dict[str, Any]
"""One line of a run's log.

A training record has `step`, `steps` (of the whole run), `loss`, `loss_classification`, `loss_box`, `loss_iou`,
`positives` (positive anchors of the batch, mean over the processes), `gradient_norm` (before gradients are clipped),
`lr`, `bad_steps` (how many steps so far were skipped, as their loss or gradient was not finite), `images_per_second`
and `seconds_left`; losses and gradient norm are None where they are not finite. Where a look at the assignment of the
fixed images was due, it has `assignment_positives` (positives per object), the same by level
(`assignment_positives_P3`, ...) and by size (`assignment_positives_small`, ...), `assignment_separation` (of the two
Gaussians, in standard deviations, median over the objects) and `assignment_iou_error` (mean error of the predicted IoU
of the positives). A validation record has `step`, COCO's twelve numbers (`AP`, `AP50`, ...) from 0 to 1, None where
undefined, `evaluation_seconds`, and, once an AP was above 0, `highest_AP` of the validations before and its step,
`highest_AP_step` (0 where a run of an earlier version was resumed).
"""

STOP: Final = "stop"
"""What a listener returns to end the run after saving a checkpoint; `paa.STOP`."""

Listener = Callable[[Record], object]
"""A function that gets every record of a run, in its first process; if it returns `STOP`, the run ends."""


OnAssignment = Callable[[Batch, HeadOutputs, Assignment], object]
"""A function that gets what each step trains on: images, predictions, positives. Once for each part of a batch."""


def ignore(record: Record) -> None:
    """Listen to nothing."""


def ignore_assignment(batch: Batch, outputs: HeadOutputs, assignment: Assignment) -> None:
    """Look at no assignment."""


@dataclass(frozen=True)
class TrainResult:
    """Where the checkpoints of a run are, and its last numbers.

    last: the latest checkpoint. best: that of the highest AP, None without a validation. log: every record, as a line
    of JSON. step: steps trained. stopped: whether the run ended before its last step: its listener asked for that, and
    `resume="last"` continues it, or it ran out of patience (`validation.patience`), and `best` is the checkpoint to
    use, or it was interrupted. interrupted: whether a signal or the end of its time (`runtime.max_hours`) ended it, so
    that `resume="last"` continues it. training, validation: the last record of each kind, None if there is none.
    bad_steps: how many steps of the run were skipped, as their loss or gradient was not finite.
    """

    folder: Path
    last: Path
    best: Path | None
    log: Path
    step: int
    stopped: bool
    interrupted: bool
    training: Record | None
    validation: Record | None
    bad_steps: int
