"""A check finds what is wrong, and nothing in a data set in which nothing is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import paa
from paa.config import LoadingConfig, ModelConfig
from paa.data.all_splits import Source
from paa.errors import DataError, MissingSplitError
from paa.inspection.check import Checked, Limits, check_splits, read_for_check
from paa.inspection.problems import KINDS
from tests.data.data_files import box, coco_json, shared, write_image

CONFIG = ModelConfig(min_size=64, max_size=96)
LOADING = LoadingConfig(workers=0, batch_size=1)


def check(path: Path, *splits: str, config: ModelConfig = CONFIG, **options: object) -> Checked:
    return check_splits(read_for_check(Source(path, splits)), config, loading=LOADING, **options)  # type: ignore[arg-type]


def kinds(checked: Checked) -> list[str]:
    return [problem.kind.name for problem in checked.problems]


def lines(checked: Checked, kind: str) -> list[str]:
    return [problem.message for problem in checked.problems if problem.kind.name == kind]


def test_nothing_is_wrong(shapes: Path) -> None:
    checked = check(shapes)
    assert list(checked.splits) == ["train", "val"]
    assert checked.problems == []


def test_every_fault_is_found_once(shapes: Path, tmp_path: Path) -> None:
    boxes = [
        box(1, 1, (0, 0, 40, 40)),
        box(2, 1, (60, 10, 40, 20)),  # leaves the image
        box(3, 1, (90, 10, 20, 20)),  # outside
        box(4, 2, (5, 5, -3, 10)),
        box(5, 2, (5, 5, 60, 50), category=7),
        box(6, 2, (5, 5, 60, 50), category=7),
        box(7, 3, (2, 2, 70, 50)),
        box(8, 4, (30, 30, 2, 2)),
        box(9, 9, (2, 2, 70, 50)),
        box(10, 3, (2, 2, 70, 50), category=4),
    ]
    path = coco_json(tmp_path / "train.json", boxes, count=5)
    whole = (tmp_path / "images" / "5.png").read_bytes()
    (tmp_path / "images" / "5.png").write_bytes(whole[:-30])
    val = [{"id": 1, "file_name": "v.png", "height": 60, "width": 80}]
    names = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dogs"}]
    coco_json(tmp_path / "val.json", [box(1, 1, (0, 0, 40, 40))], 0, images=val, categories=names)
    Image.open(tmp_path / "images" / "3.png").save(tmp_path / "images" / "v.png", compress_level=0)
    checked = check(tmp_path)
    assert lines(checked, "unusable") == [
        f"{path}: annotation 9 (image 9) has unknown image 9",
        f"{path}: annotation 10 (image 3) has unknown category 4",
        f"{path}: annotation 4 (image 2) has width -3",
    ]
    assert lines(checked, "suspect") == [
        f"{path}: annotation 3 (image 1) has no area inside its image: (90, 10, 110, 30) in 1.png, 80 wide and 60 high",
        f"{path}: annotation 2 (image 1) leaves its image by more than a pixel; are they corners, and not x, y, width "
        "and height?: (60, 10, 100, 30) in 1.png, 80 wide and 60 high",
        f"{path}: annotation 6 (image 2) repeats the box and class of another",
        f"{tmp_path}/val.json: no object of class dogs",
    ]
    (damaged,) = lines(checked, "damaged-image")
    assert damaged.startswith(f"{tmp_path}/images/5.png: the end of the file is missing")
    assert lines(checked, "leak") == [f"{tmp_path}/images/v.png: has the content of {tmp_path}/images/3.png of train"]
    assert lines(checked, "classes") == [
        "val has classes that train has not: dogs",
        "val lacks classes that train has: dog",
    ]
    assert [p.object for p in checked.problems if p.kind.name == "small"] == [1]
    assert set(kinds(checked)) == {"unusable", "suspect", "damaged-image", "leak", "classes", "small", "no-anchor"}
    assert (checked.count("error"), checked.count("hint")) == (3, 2)


def test_images_that_cannot_be_used(tmp_path: Path) -> None:
    names = ("1.png", "2.png", "3.png", "4.jpg")
    images = [{"id": i, "file_name": name, "height": 60, "width": 80} for i, name in enumerate(names, start=1)]
    path = coco_json(tmp_path / "train.json", [box(1, 1, (0, 0, 40, 40)), box(2, 2, (0, 0, 40, 40), 7)], images=images)
    write_image(tmp_path / "images" / "3.png", 50, 80)
    file = write_image(tmp_path / "images" / "4.jpg")
    file.write_bytes(file.read_bytes()[:1500])  # of 5 kB: the header is whole
    (tmp_path / "images" / "2.png").unlink()
    checked = check(tmp_path)
    assert lines(checked, "unusable") == [
        f"{path}: image 2, 2.png, is not found",
        f"{tmp_path}/images/3.png: is 50 high and 80 wide as shown, its annotations say 60 high and 80 wide",
    ]
    (line,) = lines(checked, "unreadable-image")
    assert line.startswith(f"{file}: ")
    assert not lines(check(tmp_path, decode=False), "unreadable-image")


def test_the_checkpoints_assignment(shapes: Path, checkpoint: Path) -> None:
    model = paa.load(checkpoint, "cpu")
    checked = check(shapes, config=model.config, model=model, limits=Limits(positives=1000))
    objects = sum(len(index.boxes) for index in checked.splits.values())
    assert kinds(checked) == ["few-positives"] * objects
    assert sum(found.objects for found in checked.positives.values()) == objects
    assert checked.positives["train"].most >= checked.positives["train"].median > 0


def test_classes_that_the_checkpoint_does_not_know(tmp_path: Path, checkpoint: Path) -> None:
    coco_json(tmp_path / "train.json", [box(1, 1, (0, 0, 60, 50)), box(2, 2, (9, 9, 60, 50), 7)])
    model = paa.load(checkpoint, "cpu")
    checked = check(tmp_path, config=model.config, model=model)
    assert lines(checked, "classes") == ["train has classes that the checkpoint does not know: cat, dog"]
    assert checked.positives == {}


def test_a_split_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    coco_json(tmp_path / "train.json", [box(1, 1, (0, 0, 40, 40)), box(2, 2, (9, 9, 60, 50), 7)])
    (tmp_path / "val.json").write_text('{"images": [}')
    checked = check(tmp_path)
    assert list(checked.splits) == ["train"]
    assert kinds(checked) == ["unreadable-split"]
    assert "val.json: broken JSON at line 1, column 13" in checked.problems[0].message


def test_where_there_is_nothing_to_check(tmp_path: Path, shapes: Path) -> None:
    with pytest.raises(DataError, match="no data set: expected COCO"):
        read_for_check(Source(tmp_path))
    with pytest.raises(DataError, match="nowhere"):
        read_for_check(Source(tmp_path / "nowhere"))
    with pytest.raises(MissingSplitError, match="'test'"):
        read_for_check(Source(shapes, ("test",)))


def test_all_that_is_unusable_is_listed_though_nothing_is_left(tmp_path: Path) -> None:
    images = [{"id": name, "file_name": f"{name}.png"} for name in ("a", "b")]
    coco_json(tmp_path / "train.json", images=images)
    checked = check(tmp_path)
    assert kinds(checked) == ["unreadable-split", "unusable", "unusable"]
    assert "--skip-bad" not in checked.problems[0].message


def test_problems_are_plain_values_too(tmp_path: Path) -> None:
    coco_json(tmp_path / "train.json", [box(1, 1, (30, 30, 2, 2)), box(2, 2, (9, 9, 60, 50), 7)])
    (problem, *_) = check(tmp_path).problems
    assert json.loads(json.dumps(problem.to_dict())) == {
        "kind": "small",
        "level": "hint",
        "split": "train",
        "message": problem.message,
        "image": f"{tmp_path}/images/1.png",
        "image_id": 1,
        "object": 1,
        "class_name": "cat",
        "box": [30, 30, 32, 32],
    }
    assert len({kind.name for kind in KINDS}) == len(KINDS) == 13


def test_the_raccoons() -> None:
    """The set has two validation images that are training images too, and three more that show the same."""
    checked = check(shared("raccoon"), config=ModelConfig(min_size=320, max_size=533))
    found = {
        kind: [Path(p.image or "").stem for p in checked.problems if p.kind.name == kind] for kind in kinds(checked)
    }
    assert found == {
        "leak": ["raccoon-65", "raccoon-120"],
        "duplicate": ["raccoon-74", "raccoon-116"],
        "near-leak": ["raccoon-45", "raccoon-50", "raccoon-85"],
    }


def test_the_blood_cells() -> None:
    """One pair shows the same cells, moved; two boxes have a single pixel."""
    checked = check(shared("bccd"), config=ModelConfig(min_size=320, max_size=533))
    assert [Path(p.image or "").stem for p in checked.problems if p.kind.name == "near-leak"] == ["BloodImage_00037"]
    assert [Path(p.image or "").stem for p in checked.problems if p.kind.name == "small"] == [
        "BloodImage_00343",
        "BloodImage_00338",
    ]
    assert checked.count("error") == 0
    assert checked.count("warning") == 1
