"""What a batch inference wrote, read again by pyarrow alone, and what it must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.dataset

import paa


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table in an output folder, whole, as any reader of Parquet sees them."""
    found: list[dict[str, Any]] = pyarrow.dataset.dataset(folder / table, format="parquet").to_table().to_pylist()
    return found


Expected = tuple[Counter[tuple[Any, ...]], list[str]]
"""Each row of a table of detections that there must be (image, score, name), and the images that cannot be read."""


def expected_of(images: Sequence[str], bad: Sequence[str], checkpoint: Path) -> Expected:
    """Return what `PAA.predict` finds in each image."""
    model = paa.load(checkpoint, "cpu").optimise("float32")
    found = Counter[tuple[Any, ...]]()
    for image in set(images) - set(bad):
        detections = model.predict(image, threshold=0.3)
        found.update((image, row["score"], row["name"]) for row in detections.to_dicts())
        if not detections:
            found[image, None, None] = 1
    return found, sorted(bad)


def check_once(folder: Path, images: Sequence[str], expected: Expected) -> None:
    """Check that each image is in exactly one of the tables, with what `PAA.predict` finds in it, and nothing else."""
    found, bad = rows(folder, "detections"), sorted(row["image"] for row in rows(folder, "errors"))
    assert (Counter((row["image"], row["score"], row["name"]) for row in found), bad) == expected
    assert {row["image"] for row in found} | set(bad) == set(images)
    assert {path.name for path in folder.iterdir()} == {"run.json", "detections", "errors"}
