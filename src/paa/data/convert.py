"""Writing a data set in another format: its images and its annotations, in a new folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from paa.config import FileTransfer
from paa.data.formats.coco import write as coco
from paa.data.formats.interface import Writer
from paa.data.formats.voc import write as voc
from paa.data.formats.yolo import write as yolo
from paa.data.index import DatasetIndex
from paa.data.new_names import NewNames
from paa.runtime.files import whole_folder

WRITERS = {writer.name.lower(): writer for writer in (coco.WRITER, voc.WRITER, yolo.WRITER)}
"""The formats that data sets are written in; add a new one here."""


def convert(
    splits: Mapping[str, DatasetIndex],
    folder: Path,
    writer: Writer,
    transfer: FileTransfer = "copy",
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Write the splits of a data set, which have the same classes, to a new folder; whole or not at all.

    advance: called with 1 after each image. Raises RunError for a folder that exists or cannot be written.
    """
    names = NewNames(writer.flat)
    with whole_folder(folder) as temporary:
        written: dict[str, DatasetIndex] = {}
        for split, index in splits.items():
            images = temporary / writer.image_folder(split)
            files = names.of_split(writer.image_folder(split), index)
            for i, name in enumerate(files):
                _transfer(index.path(i), images / name, transfer)
                advance(1)
            file_names = np.array([name.encode() for name in files], np.bytes_)
            written[split] = replace(index, root=images, file_names=file_names)
        writer.write(temporary, written)


def _transfer(source: Path, target: Path, transfer: FileTransfer) -> None:
    """Copy or link an image file; one that is there already is the same image of another split."""
    if os.path.lexists(target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if transfer == "copy":
        shutil.copyfile(source, target)
    elif transfer == "link":
        target.symlink_to(source.resolve())
    else:
        target.hardlink_to(source.resolve())
