"""Groups of images that must stay together when a data set is divided."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.data.validation_split import original_name
from paa.errors import ConfigError

Links = Iterable[tuple[int, int]]
"""Pairs of images, by their positions, that belong together."""


def by_name(index: DatasetIndex, pattern: str | None = None) -> Iterator[tuple[int, int]]:
    """Yield the pairs that belong together by their names: Roboflow's copies of an image, and a pattern's groups.

    pattern: a regular expression with a group, searched for in the path of each image below the data set's root; images
    for which the group is the same text belong together. Raises ConfigError for a pattern that is none, has no group,
    or is found in no image.
    """
    names = [name.decode("utf-8", "surrogateescape") for name in index.file_names.tolist()]
    yield from _of_equal(original_name(name) if ".rf." in name else name for name in names)
    if pattern is not None:
        yield from _of_equal(_groups_of(pattern, names))


def joined(count: int, links: Links) -> npt.NDArray[np.int64]:
    """Return the group (count,) of each image, numbered in the order of their first images.

    Images that are linked, directly or by others, have the same group.
    """
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, k in links:
        low, high = sorted((root(i), root(k)))
        parent[high] = low
    return np.unique([root(i) for i in range(count)], return_inverse=True)[1].astype(np.int64)


def _groups_of(pattern: str, names: Sequence[str]) -> list[Hashable]:
    """Return what the pattern's groups are in each name; where it is not found, something that no other name has."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--group {pattern!r}: not a regular expression: {error}") from error
    if not expression.groups:
        raise ConfigError(f"--group {pattern!r}: has no group; put what a scene's images share in (), as '(.*)_[0-9]+'")
    found = [expression.search(name) for name in names]
    if not any(found):
        raise ConfigError(f"--group {pattern!r}: is found in no image's name, such as {names[0]}")
    return [match.groups() if match else i for i, match in enumerate(found)]


def _of_equal(keys: Iterable[Hashable]) -> Iterator[tuple[int, int]]:
    first: dict[Hashable, int] = {}
    for i, key in enumerate(keys):
        if (known := first.setdefault(key, i)) != i:
            yield known, i
