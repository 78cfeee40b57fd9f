"""One object's assignment over a training run, as an animation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paa.explanation.objects import ObjectAssignment
from paa.explanation.picture import draw_assignment
from paa.explanation.window import window_of
from paa.runtime.files import whole_file

_MOST_FRAMES = 120  # each is less than a megabyte of memory while the animation is made
_FRAME, _LAST = 220, 2500  # milliseconds


def write_animation(
    path: Path, pixels: npt.NDArray[np.uint8], moments: Sequence[tuple[int, ObjectAssignment]], name: str
) -> int:
    """Write an animated WebP of an object at the moments of a run, each with its step; return the number of frames.

    All frames show the same part of the image, pixels (h, w, 3), and the same scores. Of more than 120 moments, as many
    are shown, evenly spread. name: of the object.
    """
    places = np.unique(np.linspace(0, len(moments) - 1, min(len(moments), _MOST_FRAMES)).round().astype(int))
    shown = [moments[place] for place in places.tolist()]
    views = [one for _, one in shown]
    scores = np.concatenate([one.candidates.scores for one in views])
    span = (float(scores.min()), float(scores.max())) if len(scores) else None
    window = window_of(views)
    frames = [
        draw_assignment(
            pixels,
            one,
            f"{name}, step {step}: {one.positives} of {len(one.candidates)} candidates are positive",
            window,
            span,
        )
        for step, one in shown
    ]
    first, *others = frames
    duration = [_FRAME] * len(others) + [_LAST]
    with whole_file(path) as temporary:
        first.save(
            temporary,
            "WEBP",
            save_all=True,
            append_images=others,
            duration=duration if others else _LAST,
            loop=0,
            quality=75,
            method=4,
        )
    return len(frames)
