"""Reading YOLO data sets: a description, images, and for each image a text file with rows of class and box."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paa.data.build import RawSplit, build_index
from paa.data.classes import match_classes
from paa.data.files.paths import relative_name
from paa.data.formats.interface import Format, ReadRequest
from paa.data.formats.yolo.find import find_description, level
from paa.data.formats.yolo.label_files import find_labels
from paa.data.formats.yolo.rows import Row, RowReader
from paa.data.formats.yolo.split_images import split_images
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport, first_few


def read(request: ReadRequest, report: ReadReport) -> DatasetIndex:
    """Read a split of a data.yaml or obj.data, or of the folder that holds one or a classes.txt with label files.

    An image without a label file has no objects; polygons become their bounding boxes; of a row with keypoints the box
    is read. Raises DataError, AnnotationError and ImageError.
    """
    description = find_description(request.path, request.images, report)
    source, root, own = description.source, description.root, description.names
    report.annotations = str(source)
    files = split_images(description, request.split, request.images, report)
    report.images = first_few(dict.fromkeys(file.parent for file in files))
    reader = RowReader(len(own), description.keypoints, report)
    rows = _rows(find_labels(description, request.split, files, report), reader)
    reader.warn_of_keypoints(source)
    flat = [row for of_image in rows.values() for row in of_image]
    raw = RawSplit(
        source=source,
        root=root,
        classes=match_classes(source, own, range(len(own)), request.names, report),
        file_names=[relative_name(image, root) for image in rows],
        image_ids=None,
        sizes=np.zeros((len(rows), 2), np.int32),
        images=np.repeat(np.arange(len(rows)), np.array(list(map(len, rows.values())), np.int64)),
        boxes=np.array([row.box for row in flat], np.float64).reshape(-1, 4),
        labels=np.array([row.label for row in flat], np.int64),
        crowd=np.zeros(len(flat), np.bool_),
        areas=np.full(len(flat), np.nan),
        describe=lambda row: flat[row].place,
        normalised=True,
    )
    return build_index(raw, request.keep_empty, report)


def _rows(labels: Mapping[Path, Path | None], reader: RowReader) -> dict[Path, list[Row]]:
    """Return the rows of each image, without the images whose label file cannot be read."""
    rows = {image: [] if file is None else reader.read(file) for image, file in labels.items()}
    return {image: found for image, found in rows.items() if found is not None}


FORMAT = Format("YOLO", "data.yaml", level, read)
