"""The categories of a COCO file, and which of them are classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from paa.data.classes import Classes, match_classes
from paa.data.formats.coco.columns import Content
from paa.data.formats.coco.values import WrongValueError, shown, whole_number
from paa.data.read_report import ReadReport
from paa.errors import DataError


class Categories(NamedTuple):
    """The classes, and their ids in the file, ascending; an id's position is the label that `classes.mapping` takes."""

    classes: Classes
    ids: npt.NDArray[np.int64]


class Category(NamedTuple):
    """One category, as the file has it."""

    id: int
    name: str
    supercategory: str | None


def read_categories(content: Content, wanted: Sequence[str] | None, report: ReadReport) -> Categories:
    """Return a file's classes, in the order of the wanted names if these are given. Raises DataError.

    A category that only groups others, without an annotation of its own, is no class.
    """
    file, listed = content.file, list_categories(content.file, content.categories)
    groups = _groups(listed, set(np.unique(content.annotations["category_id"]).tolist()), wanted or ())
    kept = [category for category in listed if category not in groups]
    if groups and kept:
        names = ", ".join(f"{group.name} (id {group.id})" for group in groups)
        report.warn(f"{file}: {names} is no class: it only groups others (supercategory) and has no annotation")
    else:
        kept = listed
    ids = [category.id for category in kept]
    classes = match_classes(file, [category.name for category in kept], ids, wanted, report)
    return Categories(classes, np.array(ids, np.int64))


def list_categories(file: Path, categories: Any) -> list[Category]:
    """Return the categories by ascending id, a repeated category once. Raises DataError."""
    if not isinstance(categories, list):
        raise DataError(f"{file}: 'categories' must be a list of objects with id and name")
    by_id: dict[int, Category] = {}
    for place, entry in enumerate(categories):
        category = _category(file, place, entry)
        same = by_id.setdefault(category.id, category)
        if same.name != category.name:
            raise DataError(f"{file}: two classes have the same id {same.id}: {same.name} and {category.name}")
    if not by_id:
        raise DataError(f"{file}: no classes")
    return [by_id[number] for number in sorted(by_id)]


def _category(file: Path, place: int, entry: Any) -> Category:
    if not isinstance(entry, dict):
        raise DataError(f"{file}: categories[{place}] is {shown(entry)}, not an object with id and name")
    try:
        number = whole_number(entry, "id")
    except WrongValueError as wrong:
        raise DataError(f"{file}: categories[{place}] ({shown(entry.get('name'))}) {wrong}") from None
    name, above = entry.get("name"), entry.get("supercategory")
    if isinstance(name, bool) or not isinstance(name, (str, int, float)) or name == "":
        raise DataError(f"{file}: category {number} has name {shown(name)}")
    return Category(number, str(name), above if isinstance(above, str) else None)


def _groups(listed: Sequence[Category], used: set[int], wanted: Sequence[str]) -> list[Category]:
    """Return the categories that only group others: unused, another's supercategory, and not wanted by their name."""
    names = [category.name for category in listed]
    return [
        group
        for group in listed
        if group.id not in used
        and any(other.supercategory == group.name and other.id != group.id for other in listed)
        and (group.name not in wanted or names.count(group.name) > 1)
    ]
