"""Images that are in a data set more than once, within a split or in two splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paa.inspection.images import BITS, ImageFacts
from paa.inspection.problems import DUPLICATE, LEAK, NEAR_DUPLICATE, NEAR_LEAK, Kind, Problem

# Bits that may differ, as a share of the rarer bits (ones or zeros) of the image that has fewer of them. In four real
# data sets, pairs within the limit show one scene; other pairs differ in twice as many, or have little but background.
_NEAR = 0.25
_LEAST_TELLING = 8  # rarer bits; an image with fewer is nearly uniform, and looks like any other
_ROWS = 1024  # images that are compared with all others at a time


@dataclass(frozen=True)
class Seen:
    """An image that was looked at. split: the split that it is in. image_id: its id in that split."""

    split: str
    path: Path
    image_id: int
    facts: ImageFacts


def duplicate_problems(images: Sequence[Seen]) -> Iterator[Problem]:
    """Yield a problem for each image that has the content of an earlier one, or looks like an earlier one.

    images: those of the training set first. Of several earlier images with its content, the first of another split is
    named, else the first of its own; of several similar ones, the most similar of another split, else of its own.
    """
    by_content: dict[bytes, dict[str, int]] = {}  # for each content the first image of each split
    originals: list[int] = []
    for i, image in enumerate(images):
        if image.facts.content is None:
            continue
        known = by_content.setdefault(image.facts.content, {})
        if not known:
            originals.append(i)
        else:
            other = next((k for split, k in known.items() if split != image.split), next(iter(known.values())))
            yield _pair(image, images[other], "has the content of {}", DUPLICATE, LEAK)
        known.setdefault(image.split, i)
    facts = [images[i].facts for i in originals]
    for i, others, differing in near_images(facts):
        image, near = images[originals[i]], [images[originals[k]] for k in others.tolist()]
        best = int(np.lexsort((differing, [other.split == image.split for other in near]))[0])
        share = 1 - differing[best] / BITS
        yield _pair(image, near[best], f"looks like {{}} ({share:.0%} equal)", NEAR_DUPLICATE, NEAR_LEAK)


def _pair(image: Seen, other: Seen, relation: str, within: Kind, across: Kind) -> Problem:
    kind, place = (within, "") if image.split == other.split else (across, f" of {other.split}")
    if image.path == other.path:
        relation = f"is an image{place} too" if place else "is in the split more than once"
    message = f"{image.path}: " + relation.format(f"{other.path}{place}")
    return Problem(kind, image.split, message, str(image.path), image.image_id, other=str(other.path))


def near_images(
    facts: Sequence[ImageFacts],
) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """Yield each image that looks like earlier ones, these (n,), and how many of their bits differ (n,)."""
    positions = np.array([i for i, fact in enumerate(facts) if fact.looks is not None], np.int64)
    if not len(positions):
        return
    bits = np.stack([fact.looks for fact in facts if fact.looks is not None])
    telling = np.minimum(bits.sum(1), (~bits).sum(1))
    limits = np.where(telling >= _LEAST_TELLING, _NEAR * telling, -1)
    signs = np.where(bits, 1, -1).astype(np.float32)  # a product of signs counts equal bits less different ones
    for start in range(0, len(signs), _ROWS):
        differing = (BITS - signs[start : start + _ROWS] @ signs.T) / 2
        for k, row in enumerate(differing, start):
            near = np.flatnonzero(row[:k] <= np.minimum(limits[:k], limits[k]))
            if len(near):
                yield int(positions[k]), positions[near], row[near]


def alike(facts: Sequence[ImageFacts]) -> Iterator[tuple[int, int]]:
    """Yield pairs of images that have the same content or look like each other: all that belong together."""
    first: dict[bytes, int] = {}
    for i, fact in enumerate(facts):
        if fact.content is not None and (known := first.setdefault(fact.content, i)) != i:
            yield known, i
    for i, others, _ in near_images(facts):
        yield from ((i, other) for other in others.tolist())
