"""Images that are in the training and in the validation set: what is measured on them is worth little."""

from __future__ import annotations

import os

from paa.data.index import DatasetIndex


def shared_images(train: DatasetIndex, val: DatasetIndex) -> str | None:
    """Return a line that says how many validation images are training images too, None if none is.

    Images are the same where their files are: links to folders are followed, copies are not recognised.
    """
    known = set(_files(train))
    both = [file for file in _files(val) if file in known]
    if not both:
        return None
    return f"{len(both)} of {len(val)} validation images are training images too, {both[0]} first: AP will be too high"


def _files(index: DatasetIndex) -> list[str]:
    """Return the files of an index, with the real paths of their folders."""
    real: dict[str, str] = {}
    files = []
    for name in index.file_names.tolist():
        folder, last = os.path.split(name.decode("utf-8", "surrogateescape"))
        if folder not in real:
            real[folder] = os.path.realpath(index.root / folder)
        files.append(f"{real[folder]}{os.sep}{last}")
    return files
