"""Windows, histograms, pictures and animations of made-up objects."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paa.explanation import animation
from paa.explanation.histogram import histogram
from paa.explanation.picture import draw_assignment, level_colour
from paa.explanation.window import window_of
from tests.explanation.objects import make_object

PIXELS = np.full((200, 240, 3), 128, np.uint8)
OUTSIDE = replace(make_object(0, 0), box=np.array([3000, -90, 3020, -70], np.float32))


def test_the_histogram_counts_every_candidate_once() -> None:
    one = make_object(5, 20)
    shown = histogram(one)
    assert shown is not None
    assert (shown.positives.sum(), shown.negatives.sum()) == (5, 15)
    assert shown.cut is not None
    assert one.candidates.scores[4] < shown.cut < one.candidates.scores[5]
    width = np.diff(shown.edges)[0]
    area = np.trapezoid(shown.low + shown.high, shown.x) / width if hasattr(np, "trapezoid") else 20
    assert area == pytest.approx(20, rel=0.1)  # the curves have the bars' area
    assert shown.top >= (shown.positives + shown.negatives).max()
    narrower = histogram(one, (0.0, 1.0))
    assert narrower is not None
    assert narrower.positives.sum() + narrower.negatives.sum() == 20


def test_histograms_of_little() -> None:
    assert histogram(make_object(0, 0)) is None
    single = histogram(replace(make_object(1, 1), mixture=None))
    assert single is not None
    assert (single.positives.sum(), len(single.x), single.cut) == (1, 0, None)
    assert single.right > single.left


def test_a_window_holds_the_object_and_its_candidates() -> None:
    one = make_object(3, 20)
    window = window_of([one])
    centres = (one.candidates.anchors[:, :2] + one.candidates.anchors[:, 2:]) / 2
    assert (centres >= [window.left, window.top]).all()
    assert (centres <= [window.right, window.bottom]).all()
    assert (window.left, window.top) >= (0, 0)
    assert window.right <= 240
    assert window.bottom <= 200
    other = make_object(3, 20, seed=5)
    both = window_of([one, other])
    assert both.left == min(window.left, window_of([other]).left)


@pytest.mark.parametrize("shape", [(200, 240), (400, 480), (50, 60)])
def test_a_picture_shows_positives_filled_and_negatives_hollow(shape: tuple[int, int]) -> None:
    """Whatever the size of the image given."""
    one = make_object(1, 2)
    centres = np.array([[60.0, 60.0], [150.0, 120.0]])
    anchors = np.hstack([centres - 32, centres + 32]).astype(np.float32)
    one = replace(one, candidates=replace(one.candidates, anchors=anchors, levels=np.zeros(2, np.int64)))
    picture = draw_assignment(np.full((*shape, 3), 128, np.uint8), one, "an object")
    window = window_of([one])
    scale = min(372 / window.width, 298 / window.height)
    at = [(round(6 + (x - window.left) * scale), round(26 + (y - window.top) * scale)) for x, y in centres]
    assert picture.getpixel(at[0]) == level_colour(0)
    assert picture.getpixel(at[1]) == (128, 128, 128)


def test_pictures_of_little() -> None:
    for one in (OUTSIDE, replace(make_object(1, 1), mixture=None), replace(make_object(4, 9), mixture=None)):
        picture = draw_assignment(PIXELS, one, "x" * 200)
        assert len(picture.getcolors(1 << 20)) > 2


def test_an_animation_has_a_frame_for_each_moment(tmp_path: Path) -> None:
    moments = [(step, make_object(1 + step % 5, 12, seed=step)) for step in range(6)]
    path = tmp_path / "one.webp"
    assert animation.write_animation(path, PIXELS, moments, "star") == 6
    with Image.open(path) as opened:
        assert opened.n_frames == 6
        frames = []
        for number in range(6):
            opened.seek(number)
            frames.append(np.asarray(opened.convert("RGB")).astype(int))
    assert all(np.abs(one - other).max() > 100 for one, other in pairwise(frames))
    assert list(tmp_path.iterdir()) == [path]


def test_a_long_run_has_no_more_frames_than_a_person_looks_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animation, "_MOST_FRAMES", 4)
    moments = [(step, OUTSIDE) for step in range(50)]
    assert animation.write_animation(tmp_path / "long.webp", PIXELS, moments, "star") == 4
