"""Data sets as YOLO: a description, images, and one text file an image with rows of class and box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from paa.data.build import Found, build_index, match_classes
from paa.data.files.folders import relative_name, some
from paa.data.formats.yolo.description import Description
from paa.data.formats.yolo.images import split_images
from paa.data.formats.yolo.labels import LabelFinder, Polygons, assign_labels, label_rows, read_label
from paa.data.formats.yolo.layout import find_description, level
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport
from paa.errors import DataError

__all__ = ["level", "read"]

_MOST = 0.8  # of the rows; of true polygons, at most a fifth look so


def read(
    path: Path,
    split: str,
    report: ReadReport | None = None,
    *,
    images: Path | None = None,
    names: Sequence[str] | None = None,
    keep_empty: bool = True,
) -> DatasetIndex:
    """Read a split of a data.yaml or obj.data, or of the folder that holds one or a classes.txt with label files.

    images: the folder of the images, instead of the one described. names: class names in the order of the labels
    wanted; else the file's. An image without a label file has no objects; polygons become their bounding boxes; of a
    row with keypoints the box is read. Raises DataError, AnnotationError and ImageError.
    """
    report = report or ReadReport()
    description = find_description(path, images, report)
    report.format, report.annotations = "YOLO", str(description.source)
    files = split_images(description, split, images, report)
    report.images = some(dict.fromkeys(file.parent for file in files))
    labels = _labels(description, split, files, report)
    kept, rows, places = _rows(description, labels, report)
    table = np.array(rows, np.float64).reshape(-1, 6)
    found = Found(
        root=description.root,
        file_names=[relative_name(file, description.root) for file in kept],
        image_ids=np.arange(1, len(kept) + 1),
        sizes=np.zeros((len(kept), 2), np.int32),
        images=table[:, 0].astype(np.int64),
        boxes=table[:, 2:],
        labels=table[:, 1].astype(np.int64),
        crowd=np.zeros(len(table), np.bool_),
        areas=np.full(len(table), np.nan),
        describe=lambda row: places[row],
        normalised=True,
    )
    own = description.names
    classes = match_classes(description.source, own, range(len(own)), names, report)
    return build_index(description.source, found, classes, report, keep_empty)


def _rows(
    description: Description, labels: Mapping[Path, Path | None], report: ReadReport
) -> tuple[list[Path], list[tuple[float, ...]], list[str]]:
    """Return the images that can be used, their rows (position of the image, label, box), and the rows' places."""
    kept: list[Path] = []
    rows: list[tuple[float, ...]] = []
    places: list[str] = []
    polygons = Polygons()
    classes, keypoints = len(description.names), description.keypoints
    for image, file in labels.items():
        text = "" if file is None else read_label(file, report)
        if file is not None and text is not None:
            for place, label, box in label_rows(file, text, classes, keypoints, polygons, report):
                rows.append((len(kept), label, *box))
                places.append(place)
        if text is not None:
            kept.append(image)
    if polygons.like_keypoints > max(1, _MOST * polygons.count):  # a polygon alone may look so by chance
        report.warn(
            f"{description.source}: {polygons.like_keypoints} of {polygons.count} polygons look like boxes with "
            "keypoints behind them; if they are, say so: kpt_shape: [keypoints, 2 or 3] in a data.yaml"
        )
    return kept, rows, places


def _labels(
    description: Description, split: str, images: Sequence[Path], report: ReadReport
) -> dict[Path, Path | None]:
    """Return the images' label files; tell of images without, and of label files without an image."""
    source = description.source
    finder = LabelFinder()
    labels = assign_labels(images, finder, report)
    unlabelled = [image for image, file in labels.items() if file is None]
    if len(unlabelled) == len(labels):
        raise DataError(f"{source}: no labels for {split!r}: expected such as {finder.expected(images[0])}")
    report.unlabelled = len(unlabelled)
    if len(unlabelled) > len(labels) / 2:
        report.warn(
            f"{source}: {len(unlabelled)} of {len(labels)} images have no label file, and so no objects; expected such "
            f"as {finder.expected(unlabelled[0])}"
        )
    unused = finder.without_image(description.root)
    if unused:
        report.warn(f"{unused[0].parent}: {len(unused)} label files have no image: {some(f.name for f in unused)}")
    return labels
