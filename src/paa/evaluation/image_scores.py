"""How well a detector does in each single image: the worst images, and the most typical ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paa.evaluation.metrics import Evaluation


@dataclass(frozen=True)
class ImageScore:
    """One image's detections at the operating points, at IoU 0.5.

    image: its position in the evaluation's index. right, wrong: detections. missed: objects that were not found.
    """

    image: int
    right: int
    wrong: int
    missed: int

    @property
    def f1(self) -> float:
        """Return the F1 score, 0..1; 1 where there is nothing to find and nothing was found."""
        total = 2 * self.right + self.wrong + self.missed
        return 2 * self.right / total if total else 1.0


def image_scores(chosen: Evaluation) -> tuple[ImageScore, ...]:
    """Return the score of each image, by position. chosen: the detections that `at_operating_points` returns."""
    summary = chosen.run.image_diagnostics(score_thr=float("inf"))["img_summary"]
    nothing = {"tp": 0, "fp": 0, "fn": 0}
    found = (summary.get(image, nothing) for image in range(len(chosen.index)))
    return tuple(ImageScore(image, s["tp"], s["fp"], s["fn"]) for image, s in enumerate(found))


def worst(scores: Sequence[ImageScore], count: int) -> list[ImageScore]:
    """Return the images of lowest F1 that have errors; of equal ones those with more errors first."""
    faulty = [score for score in scores if score.wrong or score.missed]
    return sorted(faulty, key=lambda score: (score.f1, -score.wrong - score.missed, score.image))[:count]


def typical(scores: Sequence[ImageScore], count: int) -> list[ImageScore]:
    """Return the images whose F1 is nearest to the median, among those with objects or detections."""
    shown = sorted((s for s in scores if s.right or s.wrong or s.missed), key=lambda score: (score.f1, score.image))
    start = max(0, (len(shown) - count) // 2)
    return shown[start : start + count]
