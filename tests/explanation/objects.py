"""Objects of assignments, made up, for the tests of what is gathered, written and drawn of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from paa.explanation.mixture import fit_objects
from paa.explanation.objects import Alternative, Candidates, Level, ObjectAssignment

LEVELS = (Level("P3", 8.0, 64.0), Level("P4", 16.0, 128.0), Level("P5", 32.0, 256.0))


def make_object(positives: int = 3, count: int = 8, seed: int = 0, **changes: Any) -> ObjectAssignment:
    """Return an object with `count` candidates, the first of which are positive; changes: other fields."""
    random = np.random.default_rng(seed)
    scores = np.sort(np.concatenate([random.normal(0.4, 0.05, positives), random.normal(1.5, 0.1, count - positives)]))
    levels = random.integers(0, len(LEVELS), count)
    centres, half = random.uniform(20, 180, (count, 2)).round(1), np.array([32, 64, 128])[levels, None]
    shares = (random.uniform(0, 1, count).round(3) for _ in range(4))
    fields: dict[str, Any] = {
        "image": 0,
        "row": seed,
        "label": 0,
        "box": np.array([60, 50, 140, 120], np.float32),
        "size": (200, 240),
        "area": 80.0 * 70.0,
        "levels": LEVELS,
        "best_overlap": 0.55,
        "candidates": Candidates(
            np.hstack([centres - half, centres + half]).astype(np.float32), levels, scores.round(5), *shares
        ),
        "positives": positives,
        "mixture": fit_objects(torch.from_numpy(scores)[None], torch.tensor([count]))[0] if count else None,
    }
    return ObjectAssignment(**fields | changes)


def alternative(positives: int, shared: int) -> Alternative:
    """Return what another rule makes of an object: so many positives, some of them shared."""
    return Alternative(np.zeros((positives, 4), np.float32), np.zeros(positives, np.int64), shared)
