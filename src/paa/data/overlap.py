"""Finding images that are in both the training and the validation set, which makes AP too high."""

from __future__ import annotations

import os

from paa.data.index import DatasetIndex


def overlap_warning(train: DatasetIndex, val: DatasetIndex) -> str | None:
    """Return a warning that counts the validation images that are training images too, None if none is.

    Two images are the same if they are the same file: links to folders are followed, copies are not recognised.
    """
    known = set(_files(train))
    both = [file for file in _files(val) if file in known]
    if not both:
        return None
    return f"{len(both)} of {len(val)} validation images are training images too, {both[0]} first: AP will be too high"


def _files(index: DatasetIndex) -> list[str]:
    """Return the paths of an index's files, with links in their folders resolved."""
    real: dict[str, str] = {}
    files = []
    for name in index.file_names.tolist():
        folder, last = os.path.split(name.decode("utf-8", "surrogateescape"))
        if folder not in real:
            real[folder] = os.path.realpath(index.root / folder)
        files.append(f"{real[folder]}{os.sep}{last}")
    return files
