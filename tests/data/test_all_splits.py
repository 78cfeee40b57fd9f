"""Reading all splits of a data set."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from paa.data.all_splits import Source, read_splits, split_reads
from paa.errors import AnnotationError, DataError, MissingSplitError
from tests.data.data_files import box, coco_json, shared


def two_splits(folder: Path) -> Path:
    coco_json(folder / "train.json", [box(1, 1, (0, 0, 9, 9)), box(2, 2, (1, 1, 9, 9), 7)])
    coco_json(folder / "valid.json", [box(1, 1, (2, 2, 9, 9), 3)], categories=[{"id": 3, "name": "hen"}])
    return folder


def test_the_usual_splits_that_exist(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "paa"):
        splits = read_splits(Source(two_splits(tmp_path)))
    assert list(splits) == ["train", "val"]
    assert [len(index) for index in splits.values()] == [2, 2]
    assert sum(line.startswith(("train: ", "val: ")) for line in caplog.messages) == 4


def test_all_have_the_same_classes(tmp_path: Path) -> None:
    train, val = read_splits(Source(two_splits(tmp_path))).values()
    assert train.names == val.names == ("cat", "dog", "hen")
    assert train.category_ids.tolist() == val.category_ids.tolist() == [3, 7, 8]  # 3 is cat's already
    assert val.labels.tolist() == [2]


def test_named_splits_must_exist(tmp_path: Path) -> None:
    assert list(read_splits(Source(two_splits(tmp_path), ("val",)))) == ["val"]
    with pytest.raises(MissingSplitError, match="'test'"):
        read_splits(Source(tmp_path, ("train", "test")))


def test_a_file_is_one_split(tmp_path: Path) -> None:
    assert list(read_splits(Source(two_splits(tmp_path) / "valid.json"))) == ["val"]
    other = (tmp_path / "train.json").rename(tmp_path / "labels.json")
    assert list(read_splits(Source(other))) == ["train"]


def test_files_that_say_no_split(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        coco_json(tmp_path / name)
    with pytest.raises(DataError, match="several files that may be 'train'"):
        read_splits(Source(tmp_path))


def test_an_error_names_what_is_wrong_and_with_skip_bad_is_left_out(tmp_path: Path) -> None:
    coco_json(tmp_path / "train.json", [box(1, 1, (0, 0, 9, 9)), box(2, 2, (1, 1, -1, 9))])
    with pytest.raises(AnnotationError, match="annotation 2"):
        read_splits(Source(tmp_path))
    (train,) = read_splits(Source(tmp_path), skip_bad=True).values()
    assert len(train.boxes) == 1


def test_what_reading_gave(tmp_path: Path) -> None:
    two_splits(tmp_path)
    (tmp_path / "valid.json").write_text('{"images": [')
    train, val = split_reads(Source(tmp_path), skip_bad=True, detailed=True)
    assert train.index is not None
    assert train.report.format == "COCO"
    assert val.index is None
    assert "broken JSON" in str(val.error)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bccd", {"train": 205, "val": 87, "test": 72}),
        ("cards", {"train": 296, "test": 67}),
        ("microcontrollers", {"train": 142, "test": 7}),
        ("raccoon", {"train": 160, "val": 40}),
    ],
)
def test_real_sets(name: str, expected: dict[str, int]) -> None:
    splits = read_splits(Source(shared(name)))
    assert {split: len(index) for split, index in splits.items()} == expected
