"""Data sets made by hand or at random, detections for them, and pycocotools' verdict, for the tests of evaluation."""

import contextlib
import io
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from paa.data.index import DatasetIndex
from paa.evaluation.coco_results import xywh
from paa.inference.table import DetectionTable


def make_index(objects, *, images, classes, image_ids=None, category_ids=None):
    """objects: (image, box, label[, crowd[, area]]) in any order."""
    objects = sorted(objects, key=lambda o: o[0])
    boxes = np.array([o[1] for o in objects], np.float32).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = [o[4] if len(o) > 4 else side.prod() for o, side in zip(objects, sides)]
    counts = np.bincount([o[0] for o in objects], minlength=images)
    return DatasetIndex(
        root=Path("images"),
        file_names=np.array([b"%d.jpg" % i for i in range(images)], dtype=np.bytes_),
        image_ids=np.arange(images) + 1 if image_ids is None else np.array(image_ids),
        sizes=np.full((images, 2), 500, np.int32),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=boxes,
        labels=np.array([o[2] for o in objects], np.int64),
        crowd=np.array([o[3] if len(o) > 3 else False for o in objects], bool),
        areas=np.array(areas, np.float32),
        names=tuple(f"class {c}" for c in range(classes)),
        category_ids=np.arange(classes) + 1 if category_ids is None else np.array(category_ids),
    )


def make_table(rows):
    """rows: (image, box, label, score)."""
    return DetectionTable(
        image=np.array([r[0] for r in rows], np.int64),
        boxes=np.array([r[1] for r in rows], np.float32).reshape(-1, 4),
        scores=np.array([r[3] for r in rows], np.float32),
        labels=np.array([r[2] for r in rows], np.int64),
    )


def random_set(seed, *, images=25, classes=4, crowded=False):
    """A data set with crowds, all sizes and shuffled ids, and detections near its objects, with ties and duplicates."""
    rng = np.random.default_rng(seed)
    objects = []
    for image in range(images):
        for _ in range(rng.integers(0, 9)):
            corner, side = rng.uniform(0, 300, 2), np.exp(rng.uniform(np.log(8), np.log(200), 2))
            label = rng.integers(0, classes - 1)  # the last class has no objects
            objects.append((image, [*corner, *(corner + side)], label, rng.random() < 0.15))
    image_ids = rng.permutation(1000)[:images]
    index = make_index(objects, images=images, classes=classes, image_ids=image_ids)

    copies = 40 if crowded else 3
    source = rng.integers(0, len(index.labels), copies * len(index.labels))
    image = np.repeat(np.arange(images), np.diff(index.offsets))[source]
    sides = np.tile(index.boxes[source, 2:] - index.boxes[source, :2], 2)
    spread = rng.choice([0.0, 0.03, 0.1, 0.4], (len(source), 1))
    boxes = index.boxes[source] + rng.normal(size=(len(source), 4)) * spread * sides
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    labels = np.where(rng.random(len(source)) < 0.8, index.labels[source], rng.integers(0, classes, len(source)))
    scores = np.round(rng.random(len(source)), 2)
    table = DetectionTable(image, boxes.astype(np.float32), scores.astype(np.float32), labels)
    return index, table


def grid_set(seed, *, images, classes, objects=6, detections=12, crowds=0.15):
    """Boxes on a coarse grid with few scores: equal scores, equal IoUs, IoUs and areas that are exactly a bound.

    objects, detections: the most of them in an image; some images have none. The last of several classes has no
    objects, the first of several no detections.
    """
    rng = np.random.default_rng(seed)

    def draw(most, labels):
        image = np.repeat(np.arange(images), rng.integers(0, most + 1, images) * (rng.random(images) < 0.8))
        corner = rng.integers(0, 3, (len(image), 2)) * 16
        boxes = np.concatenate([corner, corner + rng.choice([16, 32, 64, 96, 144], (len(image), 2))], axis=1)
        return image, boxes, rng.choice(labels, len(image))

    labels = np.arange(classes)
    columns = draw(objects, labels[:-1] if classes > 1 else labels)
    index = make_index(
        list(zip(*columns, rng.random(len(columns[0])) < crowds)),
        images=images,
        classes=classes,
        image_ids=rng.permutation(1000)[:images],
    )
    image, boxes, label = draw(detections, labels[1:] if classes > 1 else labels)
    boxes[:, :2] -= rng.choice([0, 1, 8], (len(boxes), 2))
    table = DetectionTable(image, boxes.astype(np.float32), rng.integers(1, 9, len(image)).astype(np.float32), label)
    return index, table.select(rng.permutation(len(table)))


def pycocotools_run(index, table):
    """Return pycocotools' COCOeval of these detections after its work; categories are labels, ids are rows + 1."""
    shared = {
        "images": [{"id": i} for i in index.image_ids.tolist()],
        "categories": [{"id": label, "name": name} for label, name in enumerate(index.names)],
    }
    images = np.repeat(index.image_ids, np.diff(index.offsets)).tolist()
    columns = images, index.labels.tolist(), xywh(index.boxes).tolist(), index.areas.tolist(), index.crowd.tolist()
    objects = [
        {"id": i, "image_id": image, "category_id": label, "bbox": box, "area": area, "iscrowd": int(crowd)}
        for i, (image, label, box, area, crowd) in enumerate(zip(*columns), start=1)
    ]
    boxes = xywh(table.boxes)
    columns = index.image_ids[table.image], table.labels, boxes, boxes[:, 2] * boxes[:, 3], table.scores
    detections = [
        {"id": i, "image_id": image, "category_id": label, "bbox": box, "area": area, "score": score, "iscrowd": 0}
        for i, (image, label, box, area, score) in enumerate(zip(*(c.tolist() for c in columns)), start=1)
    ]
    sides = COCO(), COCO()
    with contextlib.redirect_stdout(io.StringIO()):
        for side, annotations in zip(sides, (objects, detections)):
            side.dataset = {**shared, "annotations": annotations}
            side.createIndex()
        run = COCOeval(*sides, iouType="bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run
