"""What a batch inference wrote, read again by pyarrow alone, and what it must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.dataset

import paa
from paa.config import InferenceConfig


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table in an output folder, whole, as any reader of Parquet sees them."""
    found: list[dict[str, Any]] = pyarrow.dataset.dataset(folder / table, format="parquet").to_table().to_pylist()
    return found


def check_once(folder: Path, images: Sequence[str], bad: Sequence[str], checkpoint: Path) -> None:
    """Check that each image is in exactly one of the tables, with the detections that `PAA.predict` finds in it."""
    model = paa.load(checkpoint, "cpu").optimise("float32")
    model.inference = InferenceConfig(threshold=0.3)
    found = rows(folder, "detections")
    expected = Counter[tuple[Any, ...]]()
    for image in set(images) - set(bad):
        detections = model.predict(image)
        expected.update((image, row["score"], row["name"]) for row in detections.to_dicts())
        if not detections:
            expected[image, None, None] = 1
    assert Counter((row["image"], row["score"], row["name"]) for row in found) == expected
    assert sorted(row["image"] for row in rows(folder, "errors")) == sorted(bad)
    assert {path.name for path in folder.iterdir()} == {"run.json", "detections", "errors"}
