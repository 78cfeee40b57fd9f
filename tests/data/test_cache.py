from __future__ import annotations

import dataclasses
import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paa.data import cache
from paa.data.cache import MappedIndex
from paa.data.formats.coco import read as coco_read
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport
from paa.errors import DataError, ImageError
from tests.data.data_files import box, coco_json, write_image
from tests.data.formats.coco.coco_files import read_coco

OUTSIDE = box(3, 1, (90, 10, 5, 5))
GOOD = [box(1, 1, (1, 2, 5, 5)), box(2, 2, (10, 10, 5, 5), 7, iscrowd=1), OUTSIDE]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache's folder; every file, however small and new, is kept."""
    monkeypatch.setenv("PAA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_SMALLEST", 0)
    monkeypatch.setattr(cache, "_SETTLED", -(10**18))
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the annotation files that were read, and not taken from the cache, so far."""
    files: list[Path] = []
    read = coco_read.read_columns
    monkeypatch.setattr(coco_read, "read_columns", lambda file: files.append(file) or read(file))
    return files


def same(a: DatasetIndex, b: DatasetIndex) -> bool:
    names = [name for name in vars(a) if name != "file"]
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def entry(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_the_second_reading_is_mapped(tmp_path: Path, folder: Path, reads: list[Path]) -> None:
    path = coco_json(tmp_path / "train.json", [*GOOD, box(4, 1, (0, 0, -1, 1))], count=3)
    first = ReadReport(skip_bad=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAA_CACHE", "off")
        plain = read_coco(path, "train", first)
    assert len(first.left_out) == 1
    assert len(first.warnings) == 2
    assert not folder.exists()
    for count in (2, 2, 2):
        report = ReadReport(skip_bad=True)
        index = read_coco(path, "train", report)
        assert report == first
        assert same(plain, index)
        assert isinstance(index, MappedIndex)
        assert index.file == entry(folder)
        assert len(reads) == count
    dtypes = {name: value.dtype for name, value in vars(plain).items() if isinstance(value, np.ndarray)}
    assert {name: getattr(index, name).dtype for name in dtypes} == dtypes


def test_a_detailed_report_is_of_the_file_itself(tmp_path: Path, folder: Path, reads: list[Path]) -> None:
    path = coco_json(tmp_path / "train.json", GOOD, count=3)
    read_coco(path, "train")
    for count in (2, 3):
        report = ReadReport(detailed=True)
        assert not isinstance(read_coco(path, "train", report), MappedIndex)
        assert "annotation 3 (image 1) has no area inside its image" in report.warnings[0]
        assert len(reads) == count


def test_no_annotations(tmp_path: Path, folder: Path) -> None:
    path = coco_json(tmp_path / "test.json")
    for _ in range(2):
        index = read_coco(path, "test")
        assert isinstance(index, MappedIndex)
        assert index.boxes.shape == (0, 4)
        assert index.path(1).is_file()


@pytest.mark.parametrize(
    "changes",
    [
        {"names": ["dog", "cat"]},
        {"names": ["cat", "dog"]},
        {"keep_empty": False},
        {"report": ReadReport(skip_bad=True)},
        {"images": Path("images")},
    ],
    ids=str,
)
def test_other_options_are_read_again(tmp_path: Path, folder: Path, reads: list[Path], changes: dict[str, Any]) -> None:
    path = coco_json(tmp_path / "train.json", GOOD, count=4)
    if "images" in changes:
        changes = {"images": tmp_path / "images"}
    read_coco(path, "train")
    for _ in range(2):
        changed = read_coco(path, "train", **changes)
    assert len(reads) == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAA_CACHE", "off")
        assert same(read_coco(path, "train", **changes), changed)


def test_a_changed_file_is_read_again(tmp_path: Path, folder: Path, reads: list[Path]) -> None:
    path = coco_json(tmp_path / "train.json", GOOD)
    read_coco(path, "train")
    old = path.stat()
    path.write_text(path.read_text().replace("[1, 2, 5, 5]", "[2, 1, 5, 5]"))
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns + 1))
    assert path.stat().st_size == old.st_size
    assert read_coco(path, "train").boxes[0].tolist() == [2, 1, 7, 6]
    # another file with the same times and size in its place
    other = path.with_name("other.json")
    other.write_text(path.read_text().replace("[2, 1, 5, 5]", "[3, 1, 5, 5]"))
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    assert read_coco(path, "train").boxes[0].tolist() == [3, 1, 8, 6]
    assert len(reads) == 3


def test_moved_images_are_found_again(tmp_path: Path, folder: Path, reads: list[Path]) -> None:
    path = coco_json(tmp_path / "train.json", GOOD)
    assert read_coco(path, "train").root == tmp_path / "images"
    (tmp_path / "images").rename(tmp_path / "train")
    for _ in range(2):
        assert read_coco(path, "train").root == tmp_path / "train"
    assert len(reads) == 2


def test_each_image_must_still_exist(tmp_path: Path, folder: Path, reads: list[Path]) -> None:
    path = coco_json(tmp_path / "train.json", GOOD, count=40)
    read_coco(path, "train")
    read_coco(path, "train")
    assert len(reads) == 1
    (tmp_path / "images" / "23.png").unlink()
    with pytest.raises(ImageError, match=r"image 23, 23\.png, is not found"):
        read_coco(path, "train")
    report = ReadReport(skip_bad=True)
    assert len(read_coco(path, "train", report)) == 39
    write_image(tmp_path / "images" / "23.png")  # what was left out is looked for again
    assert len(read_coco(path, "train", ReadReport(skip_bad=True))) == 40


def test_warnings_from_before_the_reading_are_not_repeated(tmp_path: Path, folder: Path, reads: list[Path]) -> None:
    coco_json(tmp_path / "train.json", GOOD)
    coco_json(tmp_path / "old" / "train.json")
    first, second = ReadReport(), ReadReport()
    for report in (first, second):
        read_coco(tmp_path, "train", report)
    assert len(reads) == 1
    assert first == second
    assert len(set(first.warnings)) == len(first.warnings) > 1


def test_a_link_to_nothing_is_a_missing_image(tmp_path: Path, folder: Path) -> None:
    path = coco_json(tmp_path / "train.json", GOOD)
    store = tmp_path / "store.png"
    (tmp_path / "images" / "2.png").rename(store)
    (tmp_path / "images" / "2.png").symlink_to(store)
    for _ in range(2):
        assert len(read_coco(path, "train")) == 2
    store.unlink()
    with pytest.raises(ImageError, match=r"image 2, 2\.png, is not found"):
        read_coco(path, "train")


def test_relative_paths_stay_relative(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for x, name in enumerate(("a", "b")):
        coco_json(tmp_path / name / "train.json", [box(1, 1, (x, 1, 5, 5))])
    for name in ("a", "b", "a", "b"):
        monkeypatch.chdir(tmp_path / name)
        index = read_coco(Path("train.json"), "train")
        assert index.root == Path("images")
        assert index.boxes[0, 0] == "ab".index(name)
    assert read_coco(tmp_path / "a" / "train.json", "train").root == tmp_path / "a" / "images"


def flip(place: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGES = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[:-1],
    "half": lambda data: data[: len(data) // 2],
    "longer": lambda data: data + b"\0",
    "foreign": lambda data: b"a" * len(data),
    "column": flip(-2),
    "header": flip(0),
    "fact": lambda data: data.replace(b"cat", b"cut", 1),
    "key": lambda data: data.replace(b"checksum", b"checksun", 1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_no_error(tmp_path: Path, folder: Path, reads: list[Path], damage: Callable[[bytes], bytes]) -> None:
    path = coco_json(tmp_path / "train.json", GOOD, count=4)
    whole = read_coco(path, "train")
    data = entry(folder).read_bytes()
    assert damage(data) != data
    replaced = tmp_path / "replaced"  # what is mapped must not be cut short
    replaced.write_bytes(damage(data))
    replaced.replace(entry(folder))
    for count in (2, 2):
        assert same(whole, read_coco(path, "train"))
        assert len(reads) == count


CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "an offset beyond the boxes": {"offsets": np.array([0, 1, 9])},
    "offsets that fall": {"offsets": np.array([0, 3, 2])},
    "a label without a class": {"labels": np.array([0, 5])},
    "too few sizes": {"sizes": np.zeros((1, 2), np.int32)},
    "boxes of three numbers": {"boxes": np.zeros((2, 3), np.float32)},
    "another type": {"crowd": np.zeros(2, np.int32)},
    "a class that is no text": {"names": ("cat", 7)},
    "remarks that are no texts": {"warnings": [1]},
    "no remarks": {"left_out": None},
}


@pytest.mark.parametrize("change", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_an_entry_that_contradicts_itself_is_read_again(
    tmp_path: Path, folder: Path, reads: list[Path], change: dict[str, Any]
) -> None:
    """Found by fuzzing: an entry with the right checksum of wrong values."""
    path = coco_json(tmp_path / "train.json", GOOD)
    whole = read_coco(path, "train")
    remarks = {name: change.get(name, []) for name in ("left_out", "warnings")}
    columns = {name: value for name, value in change.items() if name not in remarks}
    plain = DatasetIndex(**{each.name: getattr(whole, each.name) for each in dataclasses.fields(DatasetIndex)})
    written = entry(folder)
    written.unlink()
    cache._store(written, dataclasses.replace(plain, **columns), **remarks)
    assert same(whole, read_coco(path, "train"))
    assert len(reads) == 2


def test_a_cache_that_cannot_be_written(tmp_path: Path, folder: Path, reads: list[Path]) -> None:
    folder.write_text("a file")
    path = coco_json(tmp_path / "train.json", GOOD)
    for count in (1, 2):
        assert len(read_coco(path, "train")) == 2
        assert len(reads) == count
    assert folder.read_text() == "a file"


def test_small_files_are_not_cached(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = coco_json(tmp_path / "train.json", GOOD)
    monkeypatch.setattr(cache, "_SMALLEST", path.stat().st_size + 1)
    assert type(read_coco(path, "train")) is DatasetIndex
    assert not folder.exists()


def test_files_that_change_are_not_cached(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = coco_json(tmp_path / "train.json", GOOD)
    read = coco_read.read_columns
    with monkeypatch.context() as patch:
        patch.setattr(coco_read, "read_columns", lambda file: (read(file), path.write_text(path.read_text() + " "))[0])
        read_coco(path, "train")
        assert not folder.exists()
    monkeypatch.setattr(cache, "_SETTLED", 10**18)  # nothing is old enough
    read_coco(path, "train")
    assert not folder.exists()


def test_errors_are_not_cached(tmp_path: Path, folder: Path) -> None:
    path = coco_json(tmp_path / "train.json", GOOD)
    for _ in range(2):
        with pytest.raises(DataError, match="unknown to the model"):
            read_coco(path, "train", names=["horse"])
    assert not folder.exists()


def test_many_readings_at_once(tmp_path: Path, folder: Path) -> None:
    path = coco_json(tmp_path / "train.json", GOOD)
    with ThreadPoolExecutor(8) as pool:
        indices = list(pool.map(lambda _: read_coco(path, "train"), range(16)))
    assert all(same(indices[0], index) for index in indices)
    assert entry(folder).suffix == ".paa-index"


def test_a_pickled_index_is_mapped_again(tmp_path: Path, folder: Path) -> None:
    boxes = [box(i, i % 2 + 1, (i % 70, i % 50, 5, 5)) for i in range(2000)]
    index = read_coco(coco_json(tmp_path / "train.json", boxes), "train")
    sent = pickle.dumps(index)
    assert len(sent) < 1000
    again = pickle.loads(sent)
    assert isinstance(again, MappedIndex)
    assert same(index, again)
    assert len(pickle.dumps(index.select(np.array([1])))) > 20_000
    entry(folder).unlink()
    assert same(index, pickle.loads(pickle.dumps(index)))
    assert same(index.select(np.array([1, 0])), again.select(np.array([1, 0])))


def test_mapped_columns_cannot_be_changed(tmp_path: Path, folder: Path) -> None:
    index = read_coco(coco_json(tmp_path / "train.json", GOOD), "train")
    with pytest.raises(ValueError, match="read-only"):
        index.crowd[:] = True


def test_entries_without_use_are_removed(tmp_path: Path, folder: Path) -> None:
    a = coco_json(tmp_path / "a" / "train.json", GOOD)
    read_coco(a, "train")
    used, foreign, left = entry(folder), folder / "notes.txt", folder / "0.paa-index.1f"
    long_ago = time.time() - 31 * 24 * 3600
    for file in (foreign, left):
        file.write_text("")
    for file in (used, foreign, left):
        os.utime(file, (long_ago, long_ago))
    read_coco(a, "train")  # that is a use
    read_coco(coco_json(tmp_path / "b" / "train.json", GOOD), "train")
    assert used.exists()
    assert foreign.exists()
    assert not left.exists()
    os.utime(used, (long_ago, long_ago))
    read_coco(coco_json(tmp_path / "c" / "train.json", GOOD), "train")
    assert not used.exists()


@pytest.mark.parametrize(
    ("environment", "where"),
    [
        ({"PAA_CACHE": "/x/y", "XDG_CACHE_HOME": "/z", "HOME": "/h"}, "/x/y"),
        ({"PAA_CACHE": "off", "XDG_CACHE_HOME": "/z", "HOME": "/h"}, None),
        ({"PAA_CACHE": "", "XDG_CACHE_HOME": "/z", "HOME": "/h"}, "/z/paa"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/paa"),
        ({"HOME": "/h"}, "/h/.cache/paa"),
    ],
)
def test_folder_of_the_cache(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], where: str | None) -> None:
    for name in ("PAA_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache._folder() == (where and Path(where))


def test_a_read_only_cache(tmp_path: Path, folder: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    path = coco_json(tmp_path / "train.json", GOOD)
    read_coco(path, "train")
    monkeypatch.setattr(os, "utime", refuse)
    read_coco(path, "train")
    assert len(reads) == 1
