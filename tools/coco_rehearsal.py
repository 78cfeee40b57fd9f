"""Make a data set of COCO's size and form, from a few hundred drawn images, to rehearse `make coco` without COCO.

The two annotation files have as many images, boxes, crowds and images without objects as COCO's, its 80 classes with
its category ids, outlines, and its two boxes of height 0. Every image is a hard link to one of a few hundred JPEG files
of COCO's usual sizes. The boxes are drawn at random and do not fit the images: nothing can be learned from the set.

    python tools/coco_rehearsal.py FOLDER [--files 300] [--share 1.0]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from coco import TRAIN, VAL, Counts
from paa.data.shapes import draw_image
from paa.weights.formats.coco_names import COCO_NAMES

SIZES = ((480, 640), (427, 640), (640, 480), (640, 427), (375, 500))
"""Height and width of the files, in turn."""

GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""The numbers from 1 to 90 that are not the id of a category of COCO."""

CATEGORY_IDS = np.array([number for number in range(1, 91) if number not in GAPS])

_BLOCK = 50_000  # rows of text in memory at a time
_POINTS = 40
_IMAGE = (
    '{"license": 4, "file_name": "%012d.jpg", "coco_url": "http://example.org/%012d.jpg", "height": %d, "width": %d, '
    '"date_captured": "2013-11-14 17:02:52", "id": %d}'
)
_BOX = (
    '{"segmentation": [[' + ", ".join(["%.2f"] * _POINTS) + ']], "area": %.4f, "iscrowd": %d, "image_id": %d, '
    '"bbox": [%.2f, %.2f, %.2f, %.2f], "category_id": %d, "id": %d}'
)

Table = npt.NDArray[np.float64]


def make(folder: Path, files: int, share: float = 1.0) -> None:
    """Write annotations/instances_{train,val}2017.json, train2017/ and val2017/ into an empty folder.

    share: of COCO's numbers of images and boxes, for a smaller set.
    """
    (folder / "annotations").mkdir(parents=True)
    originals: list[Path] = []
    for number, (split, full) in enumerate({"train2017": TRAIN, "val2017": VAL}.items()):
        counts = full.scaled(share)
        (folder / split).mkdir()
        for i in range(counts.images):
            image = folder / split / f"{number * 600_000 + i:012d}.jpg"
            if len(originals) < files:
                write_image(image, len(originals))
                originals.append(image)
            else:
                image.hardlink_to(originals[i % files])
        write_annotations(folder / "annotations" / f"instances_{split}.json", counts, number, files)


def write_image(path: Path, i: int) -> None:
    """Write a drawing of the i-th size."""
    pixels, _, _ = draw_image(np.random.default_rng([7, i]), (427, 640))
    height, width = SIZES[i % len(SIZES)]
    Image.fromarray(pixels).resize((width, height)).save(path, quality=92)


def write_annotations(path: Path, counts: Counts, number: int, files: int) -> None:
    """Write an annotation file; number: of the split, which its images' ids and its random numbers depend on."""
    random = np.random.default_rng([8, number])
    positions = np.arange(counts.images)
    sizes = np.array(SIZES)[positions % files % len(SIZES)]
    ids = positions + number * 600_000
    with path.open("w") as file:
        file.write('{"info": {"year": 2017}, "licenses": [], "images": [')
        write_rows(file, _IMAGE, [np.column_stack([ids, ids, sizes, ids])])
        file.write('], "annotations": [')
        write_rows(file, _BOX, draw_boxes(random, counts, ids, sizes))
        categories = [{"id": i, "name": name} for i, name in zip(CATEGORY_IDS.tolist(), COCO_NAMES)]
        file.write(f'], "categories": {json.dumps(categories)}}}')


def draw_boxes(
    random: np.random.Generator, counts: Counts, ids: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> Iterator[Table]:
    """Yield the values of annotations, in blocks: every image with objects has one, some have many, in no order."""
    chosen = random.permutation(counts.images)[: counts.with_objects]
    weights = random.exponential(size=len(chosen)) ** 1.5
    more = random.choice(chosen, counts.boxes - len(chosen), p=weights / weights.sum())
    images = np.concatenate([chosen, more])
    special = np.arange(len(images)) - len(chosen)  # 0 for the first box that is not its image's only one
    crowd = (special >= counts.flat) & (special < counts.flat + counts.crowds)
    flat = (special >= 0) & (special < counts.flat)
    order = random.permutation(len(images))
    categories = random.choice(CATEGORY_IDS, len(images))
    for start in range(0, len(order), _BLOCK):
        rows = order[start : start + _BLOCK]
        limits = sizes[images[rows]].astype(np.float64)
        height, width = (limits * np.exp(random.uniform(np.log(0.02), 0, (len(rows), 2)))).T
        y, x = (limits - np.column_stack([height, width])).T * random.uniform(size=(2, len(rows)))
        height = np.where(flat[rows], 0, height)
        outline = x[:, None] + random.uniform(size=(len(rows), _POINTS)) * width[:, None]
        yield np.column_stack(
            [outline, height * width / 2, crowd[rows], ids[images[rows]], x, y, width, height, categories[rows], rows]
        )


def write_rows(file: TextIO, template: str, tables: Iterable[Table]) -> None:
    """Write the rows of tables as the elements of a JSON array."""
    comma = ""
    for table in tables:
        file.write(comma + ", ".join([template] * len(table)) % tuple(table.ravel().tolist()))
        comma = ", "


def main() -> None:
    """Make the data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--files", type=int, default=300, help="JPEG files that all images are links to")
    parser.add_argument("--share", type=float, default=1.0, help="of COCO's size")
    arguments = parser.parse_args()
    make(arguments.folder, arguments.files, arguments.share)


if __name__ == "__main__":
    main()
