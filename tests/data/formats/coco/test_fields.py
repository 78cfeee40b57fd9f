from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paa.errors import AnnotationError, DataError, ImageError
from tests.data.formats.coco.coco_files import (
    BOXES,
    CLASSES,
    CORNERS,
    coco_file,
    fails,
    files,
    images,
    read,
    write_images,
)


@pytest.mark.parametrize("form", [str, "{}.0".format, " {} ".format, float])
@pytest.mark.parametrize("places", [("image",), ("annotation",), ("image", "annotation", "category")])
def test_ids_that_are_numbers_in_another_form(tmp_path: Path, form: Any, places: Sequence[str]) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    ids = [form(i) if "image" in places else i for i in (10, 11)]
    annotations = [
        {**a, "image_id": form(i) if "annotation" in places else i, "category_id": c}
        for a, i, c in zip(BOXES, (10, 11), (form(1), 2) if "category" in places else (1, 2))
    ]
    classes = [{**c, "id": form(c["id"])} for c in CLASSES] if "category" in places else CLASSES
    coco_file(tmp_path / "train.json", images("a.jpg", "b.jpg", ids=ids), annotations, classes)
    index, _ = read(tmp_path)
    assert index.image_ids.tolist() == [10, 11]
    assert index.category_ids.tolist() == [1, 2]
    assert index.boxes.tolist() == CORNERS
    assert index.labels.tolist() == [0, 1]


@pytest.mark.parametrize("number", ["0000001_02999_d_0000005", "x2", "", "1e3", "٣", 1.5, None, True, [1]])
def test_ids_that_are_not_numbers(tmp_path: Path, number: Any) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    path = coco_file(
        tmp_path / "train.json", images("a.jpg", "b.jpg", ids=(number, 2)), [{**BOXES[0], "image_id": number}]
    )
    message = fails(tmp_path, AnnotationError)
    shown = json.dumps(number, ensure_ascii=False)
    assert message.startswith(f"{path}: images[0] (a.jpg) has id {shown}, which is not a whole number")
    assert "--skip-bad" in message


@pytest.mark.parametrize("first", [17870283321406128128, 1 << 63, -(1 << 63) - 1, str(1 << 64), 10**25])
@pytest.mark.parametrize("second", [4242424242424242421, 17870283321406128129])
def test_ids_that_do_not_fit(tmp_path: Path, first: Any, second: int) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    path = coco_file(tmp_path / "train.json", images("a.jpg", "b.jpg", ids=(first, second)))
    assert f"{path}: images[0] (a.jpg) has id {int(first)}, which does not fit int64" in fails(
        tmp_path, AnnotationError
    )


@pytest.mark.parametrize("form", [int, str])
def test_ids_are_exact(tmp_path: Path, form: Any) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    ids = [(1 << 63) - 1, (1 << 63) - 2, 5]
    annotations = [{**BOXES[0], "image_id": form(i)} for i in ids]
    path = coco_file(tmp_path / "train.json", images("a.jpg", "b.jpg", "c.jpg", ids=ids), annotations)
    index, _ = read(path)
    assert index.image_ids.tolist() == ids
    assert np.diff(index.offsets).tolist() == [1, 1, 1]
    coco_file(path, images("a.jpg", "b.jpg", "c.jpg", ids=ids), [*annotations, {**BOXES[0], "image_id": 1 << 63}])
    assert f"annotation 1 (image {1 << 63}) has image_id {1 << 63}, which does not fit int64" in fails(
        path, AnnotationError
    )


@pytest.mark.parametrize("area", ["", "big", -1, "nan", [200], True, float("nan"), float("inf")])
def test_an_area_that_cannot_be_used(tmp_path: Path, area: Any) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    path = coco_file(tmp_path / "train.json", annotations=[{**BOXES[0], "area": area}, {**BOXES[1], "area": "70.5"}])
    index, report = read(tmp_path)
    assert index.areas.tolist() == [200, 70.5]
    assert report.warnings == [
        f"{path}: 1 annotations have an unusable area, the box's is taken; first annotation 1 (image 1)"
    ]


@pytest.mark.parametrize("value", ["no", "false", "True", "", 2, -1, 0.5, [0]])
def test_iscrowd_that_is_neither_0_nor_1(tmp_path: Path, value: Any) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    path = coco_file(tmp_path / "train.json", annotations=[BOXES[0], {**BOXES[1], "iscrowd": value}])
    message = fails(tmp_path, AnnotationError)
    assert message.startswith(f"{path}: annotation 2 (image 2) has iscrowd {json.dumps(value)}, which is neither 0")
    assert len(read(tmp_path, skip_bad=True)[0].boxes) == 1


@pytest.mark.parametrize(("value", "crowd"), [(True, True), ("1", True), ("0", False), (1.0, True), (None, False)])
def test_iscrowd_in_another_form(tmp_path: Path, value: Any, crowd: bool) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    coco_file(tmp_path / "train.json", annotations=[{**BOXES[0], "iscrowd": value}])
    assert read(tmp_path)[0].crowd.tolist() == [crowd]


@pytest.mark.parametrize(
    ("boxes", "corners", "says"),
    [
        (
            [(40, 30, 60, 47), (30, 20, 40, 30)],
            [[40, 30, 64, 48], [30, 20, 64, 48]],
            "2 of 2 boxes leave their image",
        ),
        ([(0.1, 0.1, 0.3, 0.3), (0.5, 0.5, 0.1, 0.2)], None, "2 of 2 boxes have a side below one pixel"),
        ([("4", "5.0", " 20", "1e1"), (30, 20, 10, 10)], CORNERS, None),
    ],
)
def test_boxes_of_other_kinds(tmp_path: Path, boxes: Any, corners: Any, says: str | None) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    coco_file(tmp_path / "train.json", annotations=[{**a, "bbox": b} for a, b in zip(BOXES, boxes)])
    index, report = read(tmp_path)
    assert corners is None or index.boxes.tolist() == corners
    assert len(index.boxes) == 2
    assert [says in warning for warning in report.warnings] == [True] if says else report.warnings == []


@pytest.mark.parametrize(
    ("mask", "corners"),
    [
        ({"size": [48, 64], "counts": [100, 50, 2922]}, [2, 0, 4, 48]),
        ({"size": [48, 64], "counts": [100, 10, 38, 12, 2912]}, [2, 4, 4, 16]),
        ({"size": [48, 64], "counts": "T3b1Zk2"}, [2, 0, 4, 48]),
        ([[10, 20, 30, 20, 30, 40]], [10, 20, 30, 40]),
        ([[10, 20, 12, 20, 12, 21], [], [50.5, 5, 51, 6, 50, 7]], [10, 5, 51, 21]),
        ([10, 20, 30, 20, 30, 40], [10, 20, 30, 40]),
    ],
    ids=str,
)
@pytest.mark.parametrize("empty", [{}, {"bbox": []}, {"bbox": None}])
def test_a_mask_without_box(tmp_path: Path, mask: Any, corners: list[float], empty: dict[str, Any]) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    masked = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": mask, **empty}
    path = coco_file(tmp_path / "train.json", annotations=[masked, BOXES[1]])
    index, report = read(tmp_path)
    assert index.boxes.tolist() == [corners, CORNERS[1]]
    assert report.warnings == [
        f"{path}: 1 annotations have no bbox but a mask, whose box is taken; first annotation 1 (image 1)"
    ]


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        ([], "has no bbox"),
        (None, "has no bbox"),
        ([[]], "has no bbox, and its segmentation is empty"),
        ({"size": [48, 64], "counts": [3072]}, "has no bbox, and its segmentation is empty"),
        (
            {"size": [48, 64], "counts": [100, 50]},
            "has no bbox, and run lengths that do not add up to 48 x 64 pixels",
        ),
        (
            {"size": [24, 32], "counts": [768]},
            "has no bbox, and a mask 24 high and 32 wide, but its image",
        ),
        ({"size": [48, 64]}, "has no bbox, and a segmentation that is neither polygons nor run lengths"),
        ({"size": [48, 64], "counts": "~~"}, "has no bbox, and run lengths in an unknown encoding"),
        ([[1, 2, 3]], "has no bbox, and a polygon that is not pairs of finite numbers"),
        ([["a", 2, 3, 4]], "has no bbox, and a polygon that is not numbers"),
    ],
    ids=str,
)
def test_a_mask_that_gives_no_box(tmp_path: Path, mask: Any, says: str) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    masked = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": mask}
    path = coco_file(tmp_path / "train.json", annotations=[masked, BOXES[1]])
    assert fails(tmp_path, AnnotationError).startswith(f"{path}: annotation 1 (image 1) {says}")
    index, report = read(tmp_path, skip_bad=True)
    assert index.boxes.tolist() == [CORNERS[1]]
    assert len(report.left_out) == 1


@pytest.mark.parametrize("group", ["pets", "dog"])
@pytest.mark.parametrize("above", ["none", None, ""])
def test_a_class_that_only_groups_others_is_left_out(tmp_path: Path, group: str, above: Any) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    classes = [{"id": 0, "name": group, "supercategory": above}, *({**c, "supercategory": group} for c in CLASSES)]
    path = coco_file(tmp_path / "train.json", categories=classes)
    index, report = read(tmp_path)
    assert index.names == ("cat", "dog")
    assert index.category_ids.tolist() == [1, 2]
    assert f"{path}: {group} (id 0) is no class: it only groups others (supercategory) and has no annotation" in (
        report.warnings
    )
    assert read(tmp_path, names=("cat", "dog"))[0].labels.tolist() == [0, 1]


def test_a_group_that_has_objects_is_a_class(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    classes = [{"id": 0, "name": "pets"}, *({**c, "supercategory": "pets"} for c in CLASSES)]
    coco_file(tmp_path / "train.json", annotations=[*BOXES, {**BOXES[0], "category_id": 0}], categories=classes)
    assert read(tmp_path)[0].names == ("pets", "cat", "dog")
    coco_file(tmp_path / "train.json", categories=[{**c, "supercategory": c["name"]} for c in CLASSES])
    assert read(tmp_path)[0].names == ("cat", "dog")


def test_a_class_that_only_validation_has(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    more = [*CLASSES, {"id": 3, "name": "bird"}]
    path = coco_file(tmp_path / "val.json", annotations=[*BOXES, {**BOXES[0], "category_id": 3}], categories=more)
    message = fails(tmp_path, DataError, "val", names=("cat", "dog"))
    assert message.startswith(f"{path}: class 'bird' is unknown to the model, which knows cat, dog")
    assert "--skip-bad" in message
    index, report = read(tmp_path, "val", names=("cat", "dog"), skip_bad=True)
    assert index.boxes.tolist() == CORNERS
    assert len(report.left_out) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    write_images(tmp_path, "ä.jpg", "b.jpg")
    coco_file(tmp_path / "train.json", images("ä.jpg", "b.jpg"), encoding=encoding)
    index, _ = read(tmp_path)
    assert files(index, tmp_path) == ["ä.jpg", "b.jpg"]
    assert index.boxes.tolist() == CORNERS


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_bytes('{"images": [{"id": 1, "file_name": "ä.jpg"}], "categories": []}'.encode("latin-1"))
    assert fails(tmp_path, DataError).startswith(f"{path}: cannot be read as text: 'utf-8' codec can't decode")


def test_the_message_where_all_is_left_out(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    path = coco_file(tmp_path / "train.json", images("a.jpg", "b.jpg", ids=("x", 1 << 63)))
    assert fails(tmp_path, DataError, skip_bad=True) == (
        f"{path}: no images; 2 left out by --skip-bad, the first: "
        f'{path}: images[0] (a.jpg) has id "x", which is not a whole number'
    )


@pytest.mark.parametrize("plain", [True, False])
def test_images_of_lvis_have_a_url_and_no_name(tmp_path: Path, plain: bool) -> None:
    write_images(tmp_path, "train2017/a.jpg", "train2017/b.jpg", "val2017/a.jpg")
    records = images("a.jpg", "b.jpg")
    for record in records:
        record["coco_url"] = f"http://images.example.org/train2017/{record.pop('file_name')}"
    annotations = BOXES if plain else [{**a, "image_id": str(a["image_id"])} for a in BOXES]
    coco_file(tmp_path / "annotations" / "lvis_v1_train.json", records, annotations)
    index, _ = read(tmp_path)
    assert files(index, tmp_path) == ["train2017/a.jpg", "train2017/b.jpg"]
    assert index.boxes.tolist() == CORNERS


@pytest.mark.parametrize("url", ["", "a.jpg", None, 5])
def test_a_name_that_is_no_url(tmp_path: Path, url: Any) -> None:
    write_images(tmp_path, "a.jpg")
    path = coco_file(tmp_path / "train.json", [{"id": 1, "coco_url": url, "width": 64, "height": 48}], BOXES[:1])
    assert f"{path}: images[0] has " in fails(tmp_path, AnnotationError)


@pytest.mark.parametrize(
    ("bbox", "says"),
    [
        ((float("inf"), 5, 20, 10), "x inf"),
        ((float("inf"), 5, -float("inf"), 10), "x inf"),
        ((1e308, 5, 1e308, 10), "width inf"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_boxes_that_are_not_finite_are_one_line(tmp_path: Path, bbox: Any, says: str) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    path = coco_file(tmp_path / "train.json", annotations=[{**BOXES[0], "bbox": bbox}, BOXES[1]])
    assert fails(tmp_path, AnnotationError).startswith(f"{path}: annotation 1 (image 1) has {says}; ")
    assert read(tmp_path, skip_bad=True)[0].boxes.tolist() == CORNERS[1:]


@pytest.mark.filterwarnings("error")
def test_an_area_beyond_all_images(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    coco_file(tmp_path / "train.json", annotations=[{**BOXES[0], "area": 1e300}, BOXES[1]])
    assert read(tmp_path)[0].areas.tolist() == [200, 100]


@pytest.mark.parametrize("last", [(1 << 63) - 1, (1 << 63) - 2])
def test_class_ids_at_the_end_of_int64(tmp_path: Path, last: int) -> None:
    """A class that the file lacks gets an id that no other has."""
    write_images(tmp_path, "a.jpg", "b.jpg")
    classes = [{"id": 0, "name": "cat"}, {"id": last, "name": "dog"}]
    coco_file(tmp_path / "train.json", annotations=[{**a, "category_id": last} for a in BOXES], categories=classes)
    index, _ = read(tmp_path, names=("bird", "dog", "cow", "cat"))
    ids = index.category_ids.tolist()
    assert (ids[1], ids[3]) == (last, 0)
    assert len(set(ids)) == 4
    assert index.labels.tolist() == [1, 1]


@pytest.mark.parametrize(("other", "how"), [("Cat", "capitals"), ("cat ", "blanks"), ("c at", None)])
def test_classes_that_differ_in_little(tmp_path: Path, other: str, how: str | None) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    path = coco_file(tmp_path / "train.json", categories=[{"id": 1, "name": "cat"}, {"id": 2, "name": other}])
    warning = f"{path}: the classes 'cat' and {other!r} differ in {how} only; are they the same?"
    assert read(tmp_path)[1].warnings == ([warning] if how else [])


def test_a_turned_image_with_its_size_before_the_turn(tmp_path: Path) -> None:
    write_images(tmp_path, "b.jpg")
    turned = Image.new("RGB", (64, 48))
    turned.getexif()[274] = 6
    turned.save(tmp_path / "a.jpg", exif=turned.getexif())
    coco_file(tmp_path / "train.json")
    message = fails(tmp_path, ImageError)
    assert message.startswith(f"{tmp_path}/a.jpg: is 64 high and 48 wide as shown, its annotations say 48 high and 64")
    assert "the size before its EXIF orientation turns it" in message
    turned.save(tmp_path / "a.jpg")  # upright; 48 high and 64 wide
    coco_file(tmp_path / "train.json", [{**r, "width": 48, "height": 64} for r in images("a.jpg", "b.jpg")])
    assert "EXIF" not in fails(tmp_path, ImageError)


def test_names_of_several_lines_in_a_message_of_one(tmp_path: Path) -> None:
    write_images(tmp_path, "b.jpg")
    path = coco_file(
        tmp_path / "train.json", images("a\nx.jpg", "b.jpg"), categories=[{"id": 1, "name": "c\rt"}, CLASSES[1]]
    )
    assert fails(tmp_path, ImageError).startswith(f"{path}: image 1, a\\nx.jpg, is not found")
    index, report = read(tmp_path, skip_bad=True)
    assert index.names == ("c\rt", "dog")
    assert report.left_out == [f"{path}: image 1, a\\nx.jpg, is not found"]
    assert "2 classes: c\\rt, dog" in report.lines("train", index)[1]
    twice = [{"id": 1, "name": "c\nt"}, {"id": 2, "name": "c\nt"}]
    coco_file(tmp_path / "train.json", images("b.jpg", "b.jpg"), categories=twice)
    assert "two classes are named" in fails(tmp_path, DataError)
    coco_file(tmp_path / "train.json", images("x\ny.jpg"))
    assert "images not found: x\\ny.jpg" in fails(tmp_path, DataError)
