"""The part of an image in which an object and its candidates are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from paa.explanation.objects import ObjectAssignment

_CONTEXT = 0.35  # of the object's longer side, shown around it
_LEAST = 16  # pixels of context


class Window(NamedTuple):
    """A part of an image: its corners, in whole pixels of the resized image."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.bottom - self.top


def window_of(views: Sequence[ObjectAssignment]) -> Window:
    """Return the part of an image that holds an object, its positives' anchors and the centres of its candidates.

    views: the object at one or several moments of a training. The part is never empty, also for an object outside of
    its image.
    """
    box, (height, width) = views[0].box.astype(np.float64), views[0].size
    margin = max(_LEAST, _CONTEXT * (box[2:] - box[:2]).max())
    low, high = [box[:2] - margin], [box[2:] + margin]
    for one in views:
        anchors = one.candidates.anchors
        if len(anchors):
            centres = (anchors[:, :2] + anchors[:, 2:]) / 2
            low += [centres.min(0) - _LEAST / 2, *anchors[: one.positives, :2]]
            high += [centres.max(0) + _LEAST / 2, *anchors[: one.positives, 2:]]
    left, top = np.clip(np.floor(np.min(low, 0)), 0, [width - 1, height - 1]).astype(int).tolist()
    right, bottom = np.clip(np.ceil(np.max(high, 0)), [left + 1, top + 1], [width, height]).astype(int).tolist()
    return Window(left, top, right, bottom)
