"""Writing splits as COCO JSON beside images that stay where they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from paa.data.formats.coco.write import write_coco
from paa.data.index import DatasetIndex
from paa.runtime.files import whole_folder


def write_beside(splits: Mapping[str, DatasetIndex], folder: Path) -> None:
    """Write SPLIT.json for each split to a new folder, with the paths of the images relative to it.

    The paths are absolute where a link leads to the folder, as programs differ in what is above a link. Raises RunError
    for a folder that exists or cannot be written.
    """
    base = Path(os.path.normpath(folder.absolute()))
    with whole_folder(folder) as temporary:
        for split, index in splits.items():
            files = [index.path(i) for i in range(len(index))]
            paths = [str(file.parent.resolve() / file.name) for file in files]
            if base.resolve() == base:
                paths = [os.path.relpath(path, base) for path in paths]
            names = np.array([os.fsencode(path) for path in paths], np.bytes_)
            write_coco(replace(index, file_names=names), temporary / f"{split}.json")
