"""Tables of what a data set holds, as rows of texts for the terminal and for documents."""

from __future__ import annotations

from collections.abc import Mapping

from paa.data.index import DatasetIndex
from paa.inspection.stats import ObjectStats, SplitStats, Spread
from paa.report.tables import Row


def stats_tables(stats: Mapping[str, SplitStats]) -> list[tuple[str, list[Row]]]:
    """Return the tables of a data set's numbers, each as its title and rows: splits, objects, and those of each class.

    Where three numbers stand together, they are the value that a twentieth do not reach, the median, and the value that
    a twentieth exceed.
    """
    tables: list[tuple[str, list[Row]]] = [
        ("images", [_image_row(split, one) for split, one in stats.items()]),
        (
            "objects: small below 32 x 32 pixels, large from 96 x 96",
            [_area_row(split, one.all) for split, one in stats.items()],
        ),
    ]
    for split, one in stats.items():
        rows = [_class_row(name, of_class) for name, of_class in one.classes.items()]
        rows.append(_class_row("(all)", one.all))
        tables.append((f"classes of {split}: 5 %, median and 95 % of the objects' sizes and shapes", rows))
    return tables


def _image_row(split: str, one: SplitStats) -> Row:
    return {
        "split": split,
        "images": str(one.images),
        "empty": str(one.empty),
        "width": _spread(one.widths),
        "height": _spread(one.heights),
        "objects each": _spread(one.per_image),
        "most": f"{one.per_image.most:.0f}",
    }


def _area_row(split: str, one: ObjectStats) -> Row:
    numbers = {
        "objects": one.objects,
        "small": one.small,
        "medium": one.medium,
        "large": one.large,
        "crowds": one.crowds,
    }
    return {"split": split, **{name: str(number) for name, number in numbers.items()}}


def _class_row(name: str, one: ObjectStats) -> Row:
    return {
        "class": name,
        "objects": str(one.objects),
        "images": str(one.images),
        "side, pixels": _spread(one.side),
        "% of image": _spread(one.share, 1, 100),
        "width/height": _spread(one.aspect, 2),
    }


def _spread(spread: Spread | None, digits: int = 0, factor: float = 1) -> str:
    if spread is None:
        return "-"
    return " ".join(f"{factor * value:.{digits}f}" for value in (spread.low, spread.median, spread.high))


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
