"""The goals: what each question asks for on two CPU cores and on a GPU of the H200's class, and where it is measured.

The only place where they are written down as data; `report.py` holds the measurements against them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple


class Target(NamedTuple):
    """At most `limit` in `field`, of the benchmark's lines whose whole case and peer match these regular expressions.

    style: how limit and value are shown: a speed-up (1 / ratio), a ratio, a share of a whole, seconds, or MB.
    """

    benchmark: str
    case: str
    field: str
    limit: float
    style: Literal["speed-up", "ratio", "share", "seconds", "MB"]
    peer: str = ".*"

    def measured(self, lines: Sequence[dict[str, Any]]) -> float | None:
        """Return the value, the worst if several lines match, None if none does."""
        values = [
            float(line[self.field])
            for line in lines
            if line.get("benchmark") == self.benchmark
            and line.get(self.field) is not None
            and re.fullmatch(self.case, line.get("case", ""))
            and re.fullmatch(self.peer, line.get("peer", ""))
        ]
        return max(values, default=None)


class Goal(NamedTuple):
    """A question, and its targets on two CPU cores and on a GPU: None where there is none."""

    question: str
    cpu: Target | None
    gpu: Target | None


GOALS = (
    *(
        Goal(
            f"mixture fitting, 2 × {n} objects, against the loop",
            Target("assignment", f"mixture {n} objects", "ratio", 1 / faster, "speed-up"),
            None,
        )
        for n, faster in ((7, 20), (20, 40), (60, 80))
    ),
    Goal(
        "mixture fitting, 16 × 8 objects, one fused kernel",
        None,
        Target("assignment", "kernel 16 x 8 objects", "device_s", 0.0003, "seconds"),
    ),
    Goal(
        "assignment and losses, as a share of a training step",
        Target("training_step", ".*share.*", "share", 0.03, "share"),
        Target("training_step", ".*share.*", "share", 0.05, "share"),
    ),
    Goal(
        "training step, R-50, 800 × 1333, against FCOS, same precision, eager",
        Target("training_step", ".*same precision.*", "ratio", 1.0, "ratio"),
        Target("training_step", ".*same precision.*", "ratio", 0.9, "ratio"),
    ),
    Goal(
        "training step, best settings, against FCOS with its defaults (eager, float32)",
        Target("training_step", ".*best settings.*", "ratio", 0.6, "ratio", peer="FCOS"),
        Target("training_step", ".*best settings.*", "ratio", 0.4, "ratio", peer="FCOS"),
    ),
    Goal(
        "inference, one image, R-50, 800 × 1333, with voting, best settings, against FCOS with its defaults",
        Target("inference", ".*best settings.*", "ratio", 0.5, "ratio", peer="FCOS"),
        Target("inference", ".*best settings.*", "ratio", 0.35, "ratio", peer="FCOS"),
    ),
    *(
        Goal(
            f"a model exported {how}, one image, float32, against `optimise()`",
            Target("export", f".*, ({forms})", "ratio", 1.0, "ratio", peer="optimise"),
            None,
        )
        for how, forms in (
            ("for ONNX Runtime or OpenVINO", "ONNX Runtime|OpenVINO"),
            ("by compiling ahead", "compiled ahead"),
        )
    ),
    Goal(
        "head outputs to voted detections, two crowded images, against loops over classes and boxes",
        Target("postprocess", "150 objects", "ratio", 1 / 8, "speed-up", peer="NMS per class.*"),
        Target("postprocess", "device, 150 objects", "device_s", 0.0015, "seconds"),
    ),
    Goal(
        "evaluation, 5,000 images and 500,000 detections, against pycocotools",
        Target("evaluation", "500000 detections", "ratio", 1 / 10, "speed-up", peer="pycocotools"),
        None,
    ),
    Goal(
        "memory of that evaluation, against pycocotools'",
        Target("evaluation", "memory of 500000 detections", "memory_ratio", 1 / 3, "ratio", peer="pycocotools"),
        None,
    ),
    Goal(
        "loading and augmenting 640 × 480 JPEGs to a short side of 800, against the seed's pipeline",
        Target("loading", "batch", "ratio", 1 / 1.8, "speed-up"),
        None,
    ),
    Goal(
        "loading a batch, against the training step that waits for it",
        None,
        Target("loading", ".*training step.*", "ratio", 1.0, "ratio"),
    ),
    Goal(
        "peak memory of a training step, against FCOS",
        Target("training_step", ".*", "memory_ratio", 1.0, "ratio"),
        Target("training_step", ".*", "memory_ratio", 0.8, "ratio"),
    ),
    Goal(
        "starting `paa train` on a data set of COCO's size, after the first time",
        Target("startup", "paa train, .*", "ours_s", 5.0, "seconds"),
        None,
    ),
    Goal(
        "memory of that data set's index, in all loader workers together",
        Target("startup", ".* workers, .*, cached", "total_mb", 400.0, "MB"),
        None,
    ),
)
