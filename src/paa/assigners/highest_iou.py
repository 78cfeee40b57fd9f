"""The rule of RetinaNet and Faster R-CNN: the IoU with an anchor decides, and a band of IoUs in between is ignored."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from paa.assigners.slots import by_owner
from paa.core.assignment import Assignment, Cost, match
from paa.core.boxes import iou
from paa.core.outputs import HeadOutputs
from paa.errors import ConfigError


@dataclass(frozen=True)
class HighestIouAssigner:
    """An anchor is positive for the object of highest IoU (RetinaNet: Lin et al. 2017, arXiv 1708.02002, §4.1).

    So are the anchors that fit an object best, all that tie, for the object of *their own* highest IoU, however low it
    is. The rule of torchvision's `Matcher` with low-quality matches; but an object that no anchor touches ties with
    every anchor there, and gets none here.
    """

    foreground: float = 0.5
    """Least IoU of a positive anchor."""
    background: float = 0.4
    """IoU below which an anchor is background; from here to `foreground` it counts in no loss."""
    slots: int = 128
    """Positives of an object, at most: those of highest IoU. More than the paper's anchors need at 0.5."""

    def __post_init__(self) -> None:
        """Raise ConfigError for IoUs in the wrong order."""
        if not self.background <= self.foreground <= 1:
            raise ConfigError(
                f"assigner highest-iou: background {self.background:g} and foreground {self.foreground:g} must be in "
                "this order, and at most 1"
            )

    def __call__(
        self, outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost, /
    ) -> Assignment:
        """Return the positives of every object, of highest IoU first, and the anchors that are ignored."""
        owner = match(anchors, gt_boxes, gt_labels, self.foreground)
        not_background = match(anchors, gt_boxes, gt_labels, self.background) >= 0
        own_boxes = gt_boxes.gather(1, owner.clamp(min=0)[..., None].expand(-1, -1, 4))
        assignment = by_owner(owner, 1 - iou(own_boxes, anchors), gt_labels.shape[1], self.slots)
        return assignment._replace(ignored=not_background & (assignment.objects(len(anchors)) < 0))
