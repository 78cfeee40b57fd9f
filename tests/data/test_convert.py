"""Writing data sets in other formats: what is read back is what was written, as far as both formats hold it."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paa.data.all_splits import Source, read_splits
from paa.data.convert import WRITERS, convert
from paa.data.index import DatasetIndex
from paa.errors import DataError, RunError
from paa.runtime.files import temporaries
from tests.data.data_files import make_index, shared, write_image

FORMATS = tuple(WRITERS)
Splits = dict[str, DatasetIndex]


def random_set(folder: Path) -> Splits:
    """Return two splits of images in folders, with crowds, boxes at fractions of pixels, and images without objects."""
    splits: Splits = {}
    for split, seed, count in (("train", 0, 7), ("val", 1, 3)):
        random = np.random.default_rng(seed)
        index = make_index(folder / split, [(40 + 7 * i, 90 - 9 * i) for i in range(count)], boxes_each=4)
        index = replace(
            index,
            labels=random.integers(0, 3, 4 * count),
            crowd=random.random(4 * count) < 0.2,
            areas=(index.boxes[:, 2:] - index.boxes[:, :2]).prod(1),
            names=("ant", "bee", "cow"),
        )
        index.labels[:3] = range(3)
        empty = replace(index.select(np.array([2])), offsets=np.zeros(2, np.int64))
        columns = {name: getattr(empty, name)[:0] for name in ("boxes", "labels", "crowd", "areas")}
        first, rest = index.select(np.arange(count - 1)), replace(empty, **columns)
        splits[split] = joined(first, rest, f"{count - 1}.png")
    return splits


def joined(index: DatasetIndex, empty: DatasetIndex, name: str) -> DatasetIndex:
    """Return the index with one more image, without objects; its file is the next of `make_index`."""
    write_image(index.root / name, *empty.sizes[0].tolist(), seed=50 + len(index))
    return replace(
        index,
        file_names=np.append(index.file_names, name.encode()),
        image_ids=np.append(index.image_ids, len(index) + 1),
        sizes=np.concatenate([index.sizes, empty.sizes]),
        offsets=np.append(index.offsets, index.offsets[-1]),
    )


def by_content(index: DatasetIndex) -> DatasetIndex:
    """Return the index in an order that does not depend on the names of images, by which YOLO's are read."""
    contents = [index.path(i).read_bytes() for i in range(len(index))]
    return index.select(np.array(sorted(range(len(index)), key=contents.__getitem__)))


def assert_same(read: Splits, written: Splits, exact: bool = True) -> None:
    """Check splits, images by their content, classes and objects. exact: to the bit of every corner."""
    assert list(read) == list(written)
    for split in written:
        index, expected = by_content(read[split]), by_content(written[split])
        assert [index.path(i).read_bytes() for i in range(len(index))] == [
            expected.path(i).read_bytes() for i in range(len(expected))
        ]
        assert index.sizes.tolist() == expected.sizes.tolist()
        assert index.offsets.tolist() == expected.offsets.tolist()
        assert [index.names[label] for label in index.labels] == [expected.names[label] for label in expected.labels]
        assert index.crowd.tolist() == expected.crowd.tolist()
        if exact:
            assert index.boxes.tolist() == expected.boxes.tolist()
        else:
            np.testing.assert_allclose(index.boxes, expected.boxes, rtol=0, atol=1e-5)


def without_crowds(splits: Splits) -> Splits:
    result = {}
    for split, index in splits.items():
        kept = ~index.crowd
        counts = [int(kept[a:b].sum()) for a, b in itertools.pairwise(index.offsets)]
        columns = {name: getattr(index, name)[kept] for name in ("boxes", "labels", "crowd", "areas")}
        result[split] = replace(index, offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), **columns)
    return result


def write(splits: Splits, folder: Path, to: str, transfer: str = "copy") -> Splits:
    """Convert, and read the result; nothing else is left in the folder above."""
    before = set(folder.parent.iterdir())
    convert(splits, folder, WRITERS[to], transfer)  # type: ignore[arg-type]
    assert set(folder.parent.iterdir()) - before == {folder}
    return read_splits(Source(folder, allow_outside=(Path("/"),) if transfer == "link" else ()))


@pytest.mark.parametrize("to", FORMATS)
def test_what_is_written_is_read(tmp_path: Path, to: str) -> None:
    splits = random_set(tmp_path / "own")
    read = write(splits, tmp_path / "new", to)
    expected = splits if to != "yolo" else without_crowds(splits)
    assert sum(len(index.boxes) for index in expected.values()) > 20
    assert any((index.boxes % 1 != 0).any() for index in expected.values())
    assert_same(read, expected, exact=to != "yolo")
    for split, index in read.items():
        assert index.names == ("ant", "bee", "cow")
        same = "_2" if (to, split) == ("voc", "val") else ""  # the names of the training images
        assert [index.path(i).name for i in range(len(index))] == [f"{i}{same}.png" for i in range(len(index))]
        if to == "coco":
            assert index.category_ids.tolist() == splits[split].category_ids.tolist()
            assert index.image_ids.tolist() == splits[split].image_ids.tolist()
            assert index.areas.tolist() == splits[split].areas.tolist()


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(FORMATS, 2)))
def test_there_and_back(tmp_path: Path, first: str, second: str) -> None:
    splits = write(random_set(tmp_path / "own"), tmp_path / "first", first)
    there = write(splits, tmp_path / "second", second)
    back = write(there, tmp_path / "back", first)
    expected = without_crowds(splits) if second == "yolo" else splits
    assert_same(back, expected, exact="yolo" not in (first, second))
    assert [index.names for index in back.values()] == [index.names for index in splits.values()]


@pytest.mark.parametrize("name", ["raccoon", "bccd"])
def test_real_sets_there_and_back(tmp_path: Path, name: str) -> None:
    """Whole pixels come back exactly, also through fractions of the image's size."""
    splits = read_splits(Source(shared(name)))
    for to in FORMATS:
        read = write(splits, tmp_path / to, to, "link")
        assert_same({split: replace(index, boxes=np.round(index.boxes, 3)) for split, index in read.items()}, splits)


def test_links(tmp_path: Path) -> None:
    splits = random_set(tmp_path / "own")
    file = splits["train"].path(0)
    write(splits, tmp_path / "linked", "yolo", "link")
    write(splits, tmp_path / "hard", "yolo", "hardlink")
    write(splits, tmp_path / "copied", "yolo")
    linked, hard, copied = (tmp_path / name / "images/train/0.png" for name in ("linked", "hard", "copied"))
    assert linked.is_symlink()
    assert linked.resolve() == file.resolve()
    assert not hard.is_symlink()
    assert hard.samefile(file)
    assert not copied.samefile(file)


NAMES = [b"seq1/a.png", b"seq2/a.png", b"seq1_a.png", b"A b.png", b"a b.jpg", b".hidden.png", b"x\ny.png", b"b\\c.png"]


@pytest.mark.parametrize("to", FORMATS)
def test_names_that_may_be_taken_for_each_other(tmp_path: Path, to: str) -> None:
    own = make_index(tmp_path / "own", [(20 + i, 30) for i in range(len(NAMES))])
    for old, new in zip(own.file_names.tolist(), NAMES):
        path = own.root / os.fsdecode(new)
        path.parent.mkdir(exist_ok=True)
        (own.root / os.fsdecode(old)).rename(path)
    own = replace(own, file_names=np.array(NAMES, np.bytes_))
    assert_same(write({"train": own}, tmp_path / "new", to), {"train": own}, exact=False)


def test_an_image_in_two_splits(tmp_path: Path) -> None:
    """VOC has one file for it, unless the splits differ in its objects."""
    index = make_index(tmp_path / "own", [(20, 30), (30, 20)])
    splits = {"train": index, "val": index.select(np.array([1]))}
    assert_same(write(splits, tmp_path / "voc", "voc"), splits)
    assert sorted(file.name for file in (tmp_path / "voc" / "JPEGImages").iterdir()) == ["0.png", "1.png"]
    splits["val"] = replace(splits["val"], labels=splits["val"].labels[::-1].copy())
    assert_same(write(splits, tmp_path / "other", "voc"), splits)
    assert sorted(file.stem for file in (tmp_path / "other" / "Annotations").iterdir()) == ["0", "1", "1_2"]


@pytest.mark.parametrize("to", FORMATS)
def test_an_image_twice_in_a_split(tmp_path: Path, to: str) -> None:
    index = make_index(tmp_path / "own", [(20, 30)])
    twice = replace(index.select(np.array([0, 0])), image_ids=np.array([1, 2]))
    assert_same(write({"train": twice}, tmp_path / "new", to), {"train": twice}, exact=False)


def test_paths_that_are_relative_or_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = make_index(tmp_path / "set" / "own", [(20, 30)] * 2)
    other = write_image(tmp_path / "far" / "1.png", 20, 30, seed=9)
    monkeypatch.chdir(tmp_path / "set")
    names = np.array([b"../own/0.png", str(other).encode()], np.bytes_)
    index = replace(own, root=Path("own"), file_names=names)
    read = write({"train": index}, tmp_path / "new", "voc")["train"]
    assert [read.path(i).name for i in range(2)] == ["set_own_0.png", "far_1.png"]
    assert read.path(1).read_bytes() == other.read_bytes()


def test_a_file_without_a_suffix(tmp_path: Path) -> None:
    index = make_index(tmp_path / "own", [(20, 30)])
    index.path(0).rename(tmp_path / "own" / "scan.0001")
    index = replace(index, file_names=np.array([b"scan.0001"], np.bytes_))
    assert write({"train": index}, tmp_path / "new", "yolo")["train"].path(0).name == "scan.0001.png"


@pytest.mark.parametrize("name", ["no", "1", "a: b", "'", '"', "# x", "{a}", "Ärger 猫", "[red]", "a & b < c"])
@pytest.mark.parametrize("to", FORMATS)
def test_names_of_classes(tmp_path: Path, to: str, name: str) -> None:
    index = make_index(tmp_path / "own", [(20, 30), (20, 30)])
    index = replace(index, names=(name, "b", "c"))
    (read,) = write({"train": index}, tmp_path / "new", to).values()
    assert sorted(read.names) == sorted(index.names)
    assert [read.names[label] for label in read.labels] == [index.names[label] for label in index.labels]


def test_what_a_format_cannot_hold(tmp_path: Path) -> None:
    splits = {"train": make_index(tmp_path, [(20, 30)] * 2)}
    whole = replace(splits["train"], boxes=splits["train"].boxes.round())
    whole = replace(whole, areas=(whole.boxes[:, 2:] - whole.boxes[:, :2]).prod(1))

    def lost(to: str, **changes: object) -> list[str]:
        return WRITERS[to].cannot_hold({"train": replace(whole, **changes)})  # type: ignore[arg-type]

    assert [lost(to) for to in FORMATS] == [[], [], []]
    crowd = np.array([True, False, False, True])
    assert lost("yolo", crowd=crowd) == ["2 objects of crowds or difficult, which are left out"]
    assert lost("voc", crowd=crowd) == []
    for to in ("yolo", "voc"):
        assert lost(to, image_ids=np.array([7, 9])) == ["the ids of images"]
        assert lost(to, areas=whole.areas / 2) == ["areas other than those of the boxes"]
        assert lost(to, category_ids=np.array([1, 2, 9])) == ["the ids of classes"]
    assert lost("voc", labels=np.zeros(4, np.int64)) == ["classes without objects (b, c)"]
    assert lost("voc", names=("b", "a", "c")) == ["the order of classes, which are read in that of their names"]
    fractions = splits["train"].boxes
    assert "fractions of pixels" in lost("voc", boxes=fractions, areas=(fractions[:, 2:] - fractions[:, :2]).prod(1))[0]
    odd = {"image_ids": np.array([7, 9]), "areas": whole.areas / 2, "names": ("b", "a", "c"), "crowd": crowd}
    assert lost("coco", **odd) == []


def test_a_class_that_xml_cannot_hold(tmp_path: Path) -> None:
    index = replace(make_index(tmp_path / "own", [(20, 30)]), names=("a", "b\x01", "c"))
    with pytest.raises(DataError, match=r"class 'b\\x01': VOC cannot hold this name"):
        convert({"train": index}, tmp_path / "new", WRITERS["voc"])
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_a_data_set_without_objects(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(20, 30)] * 2)
    none = replace(
        index,
        offsets=np.zeros_like(index.offsets),
        **{name: getattr(index, name)[:0] for name in ("boxes", "labels", "crowd", "areas")},
    )
    with pytest.raises(DataError, match="VOC names classes in their objects only, and the data set has none"):
        convert({"train": none}, tmp_path / "new", WRITERS["voc"])
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten_or_left_half_written(tmp_path: Path) -> None:
    index = make_index(tmp_path / "own", [(20, 30)] * 3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("kept")
    for name in ("full", "full/file", "own"):
        with pytest.raises(RunError, match="exists already"):
            convert({"train": index}, tmp_path / name, WRITERS["coco"])
    (tmp_path / "empty").mkdir()
    convert({"train": index}, tmp_path / "empty", WRITERS["coco"])
    index.path(2).unlink()
    with pytest.raises(RunError, match="cannot be written"):
        convert({"train": index}, tmp_path / "new", WRITERS["coco"])
    assert not temporaries(tmp_path, ["new"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full", "own"]
    assert (tmp_path / "full" / "file").read_text() == "kept"
