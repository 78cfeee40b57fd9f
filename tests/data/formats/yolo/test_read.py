from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paa.data.read_report import ReadReport
from paa.errors import AnnotationError, ImageError
from tests.data.formats.yolo.yolo_files import YAML, fails, read_yolo, write_set


def test_boxes_and_polygons(tmp_path: Path) -> None:
    for path in (write_set(tmp_path, YAML), tmp_path / "data.yaml"):
        index = read_yolo(path, "train")
        np.testing.assert_allclose(
            index.boxes, [[30, 15, 50, 45], [0, 3, 24, 9], [8, 12, 40, 54]], rtol=1e-6
        )  # clipped; polygon's box
        assert index.labels.tolist() == [0, 1, 1]
        assert index.offsets.tolist() == [0, 2, 3, 3]  # c has no label file, and so no objects
        assert index.sizes.tolist() == [[60, 80]] * 3
        assert index.names == ("cat", "dog")
        assert index.path(2) == tmp_path / "images" / "train" / "c.png"
    assert len(read_yolo(tmp_path, "train", keep_empty=False)) == 2


def test_given_names(tmp_path: Path) -> None:
    write_set(tmp_path, YAML)
    index = read_yolo(tmp_path, "train", names=["dog", "cow", "cat"])
    assert index.labels.tolist() == [2, 0, 0]
    assert index.category_ids.tolist() == [1, 3, 0]
    assert "class 'dog' is unknown" in fails(tmp_path, names=["cat"])


@pytest.mark.parametrize(
    ("text", "images", "labels"),
    [
        ("train: [images/train]\nnames: {0: cat, 1: dog}", "images/train", "labels/train"),
        ("path: data\ntrain: images\nnames: [cat, dog]", "data/images", "data/labels"),
        ("path: ../gone/data\ntrain: images\nnames: [cat, dog]", "images", "labels"),
        ("train: ../train/images\nnames: [cat, dog]", "train/images", "train/labels"),
        ("train: ./pictures\nnames: [cat, dog]", "pictures", "pictures"),
        ("train: images/train\nnames: [cat, dog]", "images/train/deep", "labels/train/deep"),
    ],
)
def test_layouts(tmp_path: Path, text: str, images: str, labels: str) -> None:
    index = read_yolo(write_set(tmp_path, text, images, labels), "train")
    assert len(index) == 3
    assert len(index.boxes) == 3
    assert all(index.path(i).is_file() for i in range(3))


@pytest.mark.parametrize("prefix", ["./images/train/", "images/train/", "{}/images/train/"])
def test_text_list(tmp_path: Path, prefix: str) -> None:
    write_set(tmp_path, "train: train.txt\nnames: [cat, dog]")
    start = prefix.format(tmp_path)
    (tmp_path / "train.txt").write_text(f"{start}b.png\n{start}a.png\n\n")
    index = read_yolo(tmp_path, "train")
    assert [index.path(i).stem for i in range(2)] == ["b", "a"]
    assert index.offsets.tolist() == [0, 1, 3]


def test_images_elsewhere(tmp_path: Path) -> None:
    write_set(tmp_path / "far", YAML)
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "data.yml").write_text(f"train: {tmp_path}/far/images/train\nnames: [cat, dog]")
    index = read_yolo(tmp_path / "near", "train")
    assert len(index.boxes) == 3
    assert index.path(0).is_file()


def test_split_synonyms(tmp_path: Path) -> None:
    write_set(tmp_path, "train: x\nvalid: images/train\nnames: [cat, dog]")
    assert len(read_yolo(tmp_path, "val")) == 3
    assert "'train' names x, which does not exist" in fails(tmp_path)
    assert "no 'test': it has train, valid; choose another with --train-split or --val-split NAME" in fails(
        tmp_path, split="test"
    )


def test_what_macos_and_windows_leave_behind(tmp_path: Path) -> None:
    write_set(tmp_path, "\ufeff" + YAML, a="\ufeff0 0.5 0.5 0.25 0.5\r\n")
    (tmp_path / "images" / "train" / "._a.png").write_bytes(b"\0\5\x16\7")
    index = read_yolo(tmp_path, "train")
    assert len(index) == 3
    assert len(index.boxes) == 1


def test_size_as_shown(tmp_path: Path) -> None:
    write_set(tmp_path, YAML)
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (80, 60)).save(tmp_path / "images" / "train" / "a.png", exif=exif)
    index = read_yolo(tmp_path, "train")
    assert index.sizes[0].tolist() == [80, 60]
    np.testing.assert_allclose(index.boxes[0], [22.5, 20, 37.5, 60])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("2 0.5 0.5 0.1 0.1", "line 2 has class 2, but there are 2 names"),
        ("-1 0.5 0.5 0.1 0.1", "line 2 has class -1"),
        ("0.5 0.5 0.5 0.1 0.1", "line 2 has class 0.5"),
        ("nan 0.5 0.5 0.1 0.1", "line 2 has class nan"),
        ("0 0.5 0.5 -0.1 0.1", "line 2 has width -8"),
        ("0 0.5 nan 0.1 0.1", "line 2 has coordinate nan"),
        ("0 40 30 20 10", "line 2 has coordinate 40; they must be fractions"),
        ("0 0.5 0.5 0.1", "line 2 has 3 coordinates"),
        ("0 0.5 0.5 0.1 0.1 0.9", "line 2 has 5 coordinates"),
        ("0", "line 2 has 0 coordinates"),
        ("cat 0.5 0.5 0.1 0.1", "line 2 is not numbers: cat 0.5"),
    ],
)
def test_wrong_line(tmp_path: Path, line: str, says: str) -> None:
    write_set(tmp_path, YAML, a=f"0 0.5 0.5 0.1 0.1\n{line}\n")
    message = fails(tmp_path, AnnotationError)
    assert f"{Path('labels/train/a.txt')} {says}" in message
    assert message.endswith("; fix it, or go on without it: --skip-bad")
    assert len(read_yolo(tmp_path, "train", ReadReport(skip_bad=True)).boxes) == 1


def test_unreadable_image(tmp_path: Path) -> None:
    write_set(tmp_path, YAML)
    (tmp_path / "images" / "train" / "a.png").write_text("no image")
    assert "a text, not an image" in fails(tmp_path, ImageError)
    assert len(read_yolo(tmp_path, "train", ReadReport(skip_bad=True))) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: [images/train\nnames: [a]", "broken YAML"),
        ("just text", "no data.yaml with keys such as train, val and names"),
        ("train: images/train", "'names' must be a list"),
        ("train: images/train\nnames: {1: a, 2: b}", "'names' must be a list"),
        ("train: images/train\nnames: [a, a]", "two classes are named 'a'"),
        ("train: labels\nnames: [a]", "no images in 'train'"),
    ],
)
def test_wrong_yaml(tmp_path: Path, text: str, says: str) -> None:
    assert says in fails(write_set(tmp_path, text))


def test_no_labels_at_all(tmp_path: Path) -> None:
    write_set(tmp_path, YAML, labels="elsewhere")
    message = fails(tmp_path)
    assert "no labels for 'train'" in message
    assert str(Path("labels/train/a.txt")) in message
