"""Tables of what a data set holds, as rows of texts for the terminal and for documents."""

from __future__ import annotations

from collections.abc import Mapping

from paa.data.index import DatasetIndex
from paa.report.tables import Row


def division_rows(splits: Mapping[str, DatasetIndex]) -> list[Row]:
    """Return a row for the images, and one for the objects of each class: how many each split has, and its share."""
    (first, *_) = splits.values()
    counts = [("(images)", {split: len(index) for split, index in splits.items()})]
    for label, name in enumerate(first.names):
        counts.append((name, {split: int((index.labels == label).sum()) for split, index in splits.items()}))
    rows: list[Row] = []
    for name, numbers in counts:
        total = sum(numbers.values())
        shares = {split: f"{number} ({number / total:.0%})" if total else "0" for split, number in numbers.items()}
        rows.append({"class": name, **shares})
    return rows
