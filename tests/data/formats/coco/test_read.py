from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paa.data.formats.coco.write import write_coco
from paa.data.images.read import read_image
from paa.data.read_report import ReadReport
from paa.errors import AnnotationError
from tests.data.data_files import box, coco_json, shared, write_image
from tests.data.formats.coco.coco_files import assert_same, coco_fails, read_coco


def test_columns(tmp_path: Path) -> None:
    annotations = [
        box(10, 2, (1, 2, 30, 40), category=7, area=77.5),
        box(11, 1, (5.5, 6.5, 7, 8), iscrowd=0, area=None),
        box(12, 2, (0, 0, 80, 60), iscrowd=1, segmentation={"counts": "abc", "size": [60, 80]}),
    ]
    index = read_coco(coco_json(tmp_path / "train.json", annotations), "train")
    assert index.names == ("cat", "dog")  # by ascending id
    assert index.category_ids.tolist() == [3, 7]
    assert index.offsets.tolist() == [0, 1, 3]
    assert index.boxes.tolist() == [[5.5, 6.5, 12.5, 14.5], [1, 2, 31, 42], [0, 0, 80, 60]]
    assert index.labels.tolist() == [0, 1, 0]
    assert index.crowd.tolist() == [False, False, True]
    assert index.areas.tolist() == [56, 77.5, 4800]
    assert index.sizes.tolist() == [[60, 80], [60, 80]]
    assert index.image_ids.tolist() == [1, 2]
    assert index.path(1) == tmp_path / "images" / "2.png"
    dtypes = {name: str(value.dtype) for name, value in vars(index).items() if isinstance(value, np.ndarray)}
    assert dtypes == {
        "file_names": "|S5",
        "image_ids": "int64",
        "sizes": "int32",
        "offsets": "int64",
        "boxes": "float32",
        "labels": "int64",
        "crowd": "bool",
        "areas": "float32",
        "category_ids": "int64",
    }


@pytest.mark.parametrize("seed", range(4))
def test_write_and_read_back(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    annotations = [
        box(i, int(random.integers(1, 9)), [*random.uniform(0, 40, 2), *random.uniform(0.1, 60, 2)], 7, iscrowd=i % 2)
        for i in range(30)
    ]
    ids = random.permutation(8) + 1  # not in ascending order in the file
    images = [{"id": int(i), "file_name": f"{i}.png", "height": 60, "width": 80} for i in ids]
    index = read_coco(coco_json(tmp_path / "train.json", annotations, count=8), "train")
    shuffled = read_coco(coco_json(tmp_path / "train.json", annotations, count=8, images=images), "train")
    assert_same(shuffled, index.select(ids - 1))
    write_coco(index, tmp_path / "again.json")
    assert_same(read_coco(tmp_path / "again.json", "train"), index)


LAYOUTS = [
    ("annotations/instances_train2017.json", "train2017"),
    ("annotations/instances_train2014.json", "images/train2014"),
    ("annotations/instances_train.json", "images"),
    ("annotations/train.json", "train"),
    ("train.json", "images"),
    ("train.json", "."),
    ("train.json", "train"),
    ("train.json", "images/train"),
    ("train.json", "images of mine"),
    ("train/_annotations.coco.json", "train"),
    ("instances_train.json", "JPEGImages"),
]


@pytest.mark.parametrize(("file", "folder"), LAYOUTS)
def test_layouts(tmp_path: Path, file: str, folder: str) -> None:
    coco_json(tmp_path / file, [box(1, 1, (0, 0, 5, 5))], write_images=False)
    for i in (1, 2):
        write_image(tmp_path / folder / f"{i}.png")
    write_image(tmp_path / "other" / "3.png")
    for path in (tmp_path, tmp_path / file):
        index = read_coco(path, "train")
        assert index.root.resolve() == (tmp_path / folder).resolve()
        assert all(index.path(i).is_file() for i in range(len(index)))


def test_split_has_its_own_images_where_names_are_the_same(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        coco_json(tmp_path / split / "_annotations.coco.json", [box(1, 1, (0, 0, 5, 5))], write_images=False)
        for i in (1, 2):
            write_image(tmp_path / split / f"{i}.png")
    assert read_coco(tmp_path, "train").root == tmp_path / "train"
    for name in ("val", "valid", "validation"):
        assert read_coco(tmp_path, name).root == tmp_path / "valid"


@pytest.mark.parametrize("name", ["{}.png", "deep/down/{}.png", "D:\\images\\{}.png", "/gone/{}.png"])
def test_file_names_with_folders(tmp_path: Path, name: str) -> None:
    images = [{"id": i, "file_name": name.format(i), "height": 60, "width": 80} for i in (1, 2)]
    index = read_coco(coco_json(tmp_path / "train.json", images=images), "train")
    assert index.path(1).is_file()


def test_byte_order_mark_and_ids_written_as_floats(tmp_path: Path) -> None:
    path = coco_json(tmp_path / "train.json", [box(1, 2.0, (0, 0, 5, 5), 7.0)])  # type: ignore[arg-type]
    path.write_text(path.read_text(), encoding="utf-8-sig")
    index = read_coco(path, "train")
    assert index.offsets.tolist() == [0, 0, 1]
    assert index.labels.tolist() == [1]


def test_images_of_another_data_set_beside_are_not_taken(tmp_path: Path) -> None:
    coco_json(tmp_path / "mine" / "train.json", write_images=False)
    for i in (1, 2):
        write_image(tmp_path / "other" / f"{i}.png")
    assert "images not found" in coco_fails(tmp_path / "mine" / "train.json")


def test_names_of_any_alphabet(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "шар é 球.png")
    image = {"id": 1, "file_name": "шар é 球.png", "height": 60, "width": 80}
    index = read_coco(coco_json(tmp_path / "train.json", count=0, images=[image]), "train")
    assert read_image(index.path(0)).shape == (60, 80, 3)


def test_given_class_names_order_the_labels(tmp_path: Path) -> None:
    path = coco_json(tmp_path / "val.json", [box(1, 1, (0, 0, 5, 5), 3), box(2, 1, (0, 0, 5, 5), 7)])
    index = read_coco(path, "val", names=["bird", "dog", "cat"])
    assert index.names == ("bird", "dog", "cat")
    assert index.labels.tolist() == [2, 1]
    assert index.category_ids.tolist() == [8, 7, 3]
    message = coco_fails(path, names=["dog", "bird"])
    assert message == (
        f"{path}: class 'cat' is unknown to the model, which knows dog, bird; fix it, or go on without it: --skip-bad"
    )


def test_boxes_are_clipped_and_empty_ones_dropped(tmp_path: Path) -> None:
    annotations = [
        box(1, 1, (-5, -5, 20, 20)),
        box(2, 1, (70, 50, 20, 20)),
        box(3, 1, (10, 10, 0, 5)),
        box(4, 1, (90, 10, 5, 5)),
        box(5, 2, (10, 10, 0.0005, 5)),
    ]
    path = coco_json(tmp_path / "train.json", annotations)
    report = ReadReport()
    index = read_coco(path, "train", report)
    assert index.boxes.tolist() == [[0, 0, 15, 15], [70, 50, 80, 60]]
    assert report.warnings == [
        f"{path}: dropped 3 boxes that have no area inside their image",
        f"{path}: 3 of 5 boxes leave their image by more than a pixel and are cut there; "
        "are they corners, and not x, y, width and height?",
        f"{path}: 2 of 5 boxes have a side below one pixel; are they fractions of the image's size, and not pixels?",
        f"{path}: no object of class dog",
    ]


def test_images_without_objects(tmp_path: Path) -> None:
    annotations = [box(1, 2, (0, 0, 5, 5)), box(2, 3, (0, 0, 5, 5), iscrowd=1)]
    path = coco_json(tmp_path / "train.json", annotations, count=4)
    assert np.diff(read_coco(path, "train").offsets).tolist() == [0, 1, 1, 0]
    index = read_coco(path, "train", keep_empty=False)
    assert index.image_ids.tolist() == [2]
    assert index.boxes.tolist() == [[0, 0, 5, 5]]
    empty = coco_json(tmp_path / "empty.json", count=2)
    assert len(read_coco(empty, "train")) == 2
    assert coco_fails(empty, keep_empty=False) == f"{empty}: no images with objects"


def test_no_annotations_key_is_a_test_set(tmp_path: Path) -> None:
    path = coco_json(tmp_path / "test.json", annotations=[])
    data = json.loads(path.read_text())
    del data["annotations"]
    path.write_text(json.dumps(data))
    assert len(read_coco(path, "test").boxes) == 0


WRONG_ANNOTATIONS = [
    (box(17, 2, (1, 2, -3, 4)), "annotation 17 (image 2) has width -3"),
    (box(17, 2, (1, 2, 3, -4.5)), "annotation 17 (image 2) has height -4.5"),
    (box(17, 2, (1, float("nan"), 3, 4)), "annotation 17 (image 2) has y nan"),
    (box(17, 2, (1, 2, float("inf"), 4)), "annotation 17 (image 2) has width inf"),
    (box(17, 9, (1, 2, 3, 4)), "annotation 17 (image 9) has unknown image 9"),
    (box(17, 2, (1, 2, 3, 4), 5), "annotation 17 (image 2) has unknown category 5"),
    (box(17, 2, (1, 2, 3)), "annotation 17 (image 2) has a bbox of 3 numbers, not 4"),
    (box(17, 2, ("a", 2, 3, 4)), 'annotation 17 (image 2) has a bbox whose x is "a"'),
    (box(17, 2, (1, 2, None, 4)), "annotation 17 (image 2) has a bbox whose width is null"),
    (box(17, 2, (1, 2, 3, 10**400)), f"annotation 17 (image 2) has a bbox whose height is 1{'0' * 36}..."),
    (
        {**box(17, 2, ()), "bbox": {"x": 1}},
        'annotation 17 (image 2) has bbox {"x": 1}, which is not a list of 4 numbers',
    ),
    (box(17, 2, ()), "annotation 17 (image 2) has no bbox"),
    ({"id": 17, "image_id": 2, "bbox": [1, 2, 3, 4]}, "annotation 17 (image 2) has no category_id"),
    ({"id": 17, "category_id": 3, "bbox": [1, 2, 3, 4]}, "annotation 17 (image None) has no image_id"),
    (box(17, "x", (1, 2, 3, 4)), 'annotation 17 (image x) has image_id "x", which is not a whole number'),
    (box(17, 2, (1, 2, 3, 4), 3.5), "annotation 17 (image 2) has category_id 3.5, which is not a whole number"),
    (box(17, 2, (1, 2, 3, 4), True), "annotation 17 (image 2) has category_id true, which is not a whole number"),
    (box(17, 2, (1, 2, 3, 4), None), "annotation 17 (image 2) has category_id null, which is not a whole number"),
    (box(17, 2, (1, 2, 3, 4), iscrowd="no"), 'annotation 17 (image 2) has iscrowd "no", which is neither 0 nor 1'),
    (box(17, 2, (1, 2, 3, 4), iscrowd=2), "annotation 17 (image 2) has iscrowd 2, which is neither 0 nor 1"),
    (
        box(17, 1 << 63, (1, 2, 3, 4)),
        f"annotation 17 (image {1 << 63}) has image_id {1 << 63}, which does not fit int64",
    ),
    (box(17, 2, (1, 2, 3, 4), 1e300), "annotation 17 (image 2) has category_id 1e+300, which is not a whole number"),
    ("nonsense", 'annotation "nonsense" is not an object'),
]


@pytest.mark.parametrize(
    ("wrong", "says"), WRONG_ANNOTATIONS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_wrong_annotation(tmp_path: Path, wrong: Any, says: str) -> None:
    good = [box(1, 1, (0, 0, 5, 5)), box(2, 2, (10, 10, 5, 5), 7)]
    path = coco_json(tmp_path / "instances.json", [good[0], wrong, good[1], wrong])
    message = coco_fails(path, AnnotationError)
    assert message.startswith(f"{path}: {says}")
    assert message.endswith("; fix it, or go on without it: --skip-bad")
    report = ReadReport(skip_bad=True)
    index = read_coco(path, "train", report)
    assert_same(index, read_coco(coco_json(tmp_path / "good.json", good), "train"))
    assert report.left_out == [f"{path}: {says}"] * 2
    assert report.images_left_out == 0


def test_broken_json_says_where(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text('{"images": [\n  {"id": 1,}\n]}')
    assert coco_fails(path).startswith(f"{path}: broken JSON at line 2, column ")
    path.write_bytes(b"\xff\xfe\x00")
    coco_fails(path)
    path.write_text("")
    coco_fails(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": []}, "no images"),
        ({"images": None}, "expected an object with a list 'images'"),
        ({"categories": []}, "no classes"),
        ({"categories": None}, "'categories' must be a list"),
        ({"categories": ["cat"]}, 'categories[0] is "cat", not an object with id and name'),
        ({"categories": [{"name": "a"}]}, 'categories[0] ("a") has no id'),
        ({"categories": [{"id": "x", "name": "a"}]}, 'categories[0] ("a") has id "x", which is not a whole number'),
        ({"categories": [{"id": 1, "name": None}]}, "category 1 has name null"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "two classes have the same id 1: a and b"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "two classes are named 'a'"),
        ({"images": [{"id": 1, "file_name": "gone.png", "height": 9, "width": 9}]}, "images not found: gone.png"),
    ],
)
def test_wrong_file(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    assert says in coco_fails(coco_json(tmp_path / "train.json", **{"annotations": [], **changes}))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"id": "a", "file_name": "1.png"}, 'images[1] (1.png) has id "a", which is not a whole number'),
        ({"id": 1.5, "file_name": "1.png"}, "images[1] (1.png) has id 1.5, which is not a whole number"),
        ({"id": 1 << 63, "file_name": "1.png"}, f"images[1] (1.png) has id {1 << 63}, which does not fit int64"),
        ({"file_name": "1.png"}, "images[1] (1.png) has no id"),
        ({"id": 1}, "images[1] has no file_name"),
        ({"id": 1, "file_name": ""}, 'images[1] has file_name ""'),
        ({"id": 1, "file_name": 7}, "images[1] has file_name 7"),
        ({"id": 1, "file_name": "1.png", "height": -1, "width": 5}, "images[1] (1.png) has height -1"),
        ({"id": 1, "file_name": "1.png", "height": 5, "width": 1 << 40}, f"images[1] (1.png) has width {1 << 40}"),
        ({"id": 1, "file_name": "1.png", "height": "tall", "width": 5}, 'images[1] (1.png) has height "tall"'),
        ("1.png", 'images[1] is "1.png", not an object with id and file_name'),
    ],
)
def test_wrong_image_record(tmp_path: Path, wrong: Any, says: str) -> None:
    own = wrong.get("id", 1) if isinstance(wrong, dict) else 1
    boxes = [box(1, 2, (0, 0, 5, 5)), box(2, own, (0, 0, 5, 5))]
    good = {"id": 2, "file_name": "2.png", "height": 60, "width": 80}
    path = coco_json(tmp_path / "train.json", boxes[: 1 + (own != 1)], images=[good, wrong])
    message = coco_fails(path, AnnotationError)
    assert message.startswith(f"{path}: {says}")
    assert message.endswith("; fix it, or go on without it: --skip-bad")
    report = ReadReport(skip_bad=True)
    index = read_coco(path, "train", report)
    assert index.image_ids.tolist() == [2]
    assert index.boxes.tolist() == [[0, 0, 5, 5]]
    assert len(report.left_out) == 1  # its annotations go with it


def test_sizes_that_are_not_given_are_those_of_the_images(tmp_path: Path) -> None:
    images = [
        {"id": 1, "file_name": "1.png"},
        {"id": 2, "file_name": "2.png", "height": 0, "width": 80},
        {"id": 3, "file_name": "3.png", "height": "60", "width": 80.0},
    ]
    report = ReadReport()
    path = coco_json(tmp_path / "train.json", count=3, images=images)
    assert read_coco(path, "train", report).sizes.tolist() == [[60, 80]] * 3
    assert "2 images have no height or width; those of the image files are taken" in report.warnings[0]


def test_an_id_of_two_images(tmp_path: Path) -> None:
    record = {"id": 1, "file_name": "1.png", "height": 60, "width": 80}
    other, last = {**record, "file_name": "2.png"}, {**record, "id": 3, "file_name": "3.png"}
    boxes = [box(1, 1, (0, 0, 5, 5)), box(2, 3, (1, 1, 5, 5))]
    path = coco_json(tmp_path / "train.json", boxes, count=3, images=[record, other, last])
    assert "two images have the id 1: 1.png and 2.png" in coco_fails(path, AnnotationError)
    index = read_coco(path, "train", ReadReport(skip_bad=True))
    assert index.image_ids.tolist() == [3]
    assert index.boxes.tolist() == [[1, 1, 6, 6]]
    report = ReadReport()
    path = coco_json(tmp_path / "train.json", boxes, count=3, images=[record, last, record])
    assert read_coco(path, "train", report).image_ids.tolist() == [1, 3]
    assert "1 images are in the file more than once, with the same id and name" in report.warnings[0]


def test_annotations_must_be_a_list(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text('{"images": [{}], "annotations": {"a": 1}}')
    assert "'annotations' is not a list" in coco_fails(path)


def test_a_list_of_detections_is_no_data_set(tmp_path: Path) -> None:
    path = tmp_path / "detections.json"
    path.write_text("[]")
    assert "not COCO annotations" in coco_fails(path)


def test_missing_split(tmp_path: Path) -> None:
    coco_json(tmp_path / "train.json")
    message = coco_fails(tmp_path, split="val")
    assert "no COCO annotations for 'val'" in message
    assert "train.json" in message


def test_two_files_for_a_split(tmp_path: Path) -> None:
    for year in (2014, 2017):
        coco_json(tmp_path / "annotations" / f"instances_train{year}.json")
    assert "name one of them" in coco_fails(tmp_path)


def test_many_annotations_are_read_by_column(tmp_path: Path) -> None:
    annotations = [box(i, i % 50 + 1, (i % 70, i % 50, 5, 5)) for i in range(50_000)]
    index = read_coco(coco_json(tmp_path / "train.json", annotations, count=50), "train")
    assert np.diff(index.offsets).tolist() == [1000] * 50


def test_raccoon() -> None:
    folder = shared("raccoon")
    train, val = read_coco(folder, "train"), read_coco(folder, "val")
    assert (len(train), len(val), len(train.boxes), len(val.boxes)) == (160, 40, 174, 43)
    assert train.names == val.names == ("raccoon",)
    for i in range(0, len(val), 8):
        assert read_image(val.path(i)).shape[:2] == tuple(val.sizes[i])
