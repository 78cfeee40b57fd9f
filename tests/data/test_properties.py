"""What holds for any names, boxes and pixels: what is written is read again."""

from __future__ import annotations

import codecs
import io
import math
import tempfile
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from PIL import Image

from paa.data.convert import WRITERS, convert
from paa.data.files.lookup import NameLookup
from paa.data.files.text import decode_text
from paa.data.formats.coco.write import write_coco
from paa.data.images.read import decode_image
from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.data.read_report import printable
from paa.errors import DataError
from tests.properties import bounded, text

WIDTHS = (40, 41, 42)
"""By which an image is recognised, whatever its new name."""
HEIGHT = 30


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image of each width."""
    folder = tmp_path_factory.mktemp("store")
    for width in WIDTHS:
        Image.new("RGB", (width, HEIGHT)).save(folder / f"{width}.png")
    return folder


file_names = text.filter(
    lambda name: not {"/", "\0"} & set(name) and name not in (".", "..") and len(name.encode()) < 200
)


@st.composite
def indexes(draw: st.DrawFn) -> DatasetIndex:
    """Three images with any names, and boxes that lie inside them."""
    names = draw(
        st.lists(
            file_names, min_size=3, max_size=3, unique_by=lambda name: unicodedata.normalize("NFC", name.casefold())
        )
    )
    classes = draw(st.lists(text, min_size=2, max_size=3, unique=True))
    counts = draw(st.lists(st.integers(0, 2), min_size=3, max_size=3))
    boxes = []
    for width, count in zip(WIDTHS, counts):
        for _ in range(count):
            sides = [sorted(draw(st.tuples(*[st.floats(0, side, width=32)] * 2))) for side in (width, HEIGHT)]
            assume(all(high - low > 0.01 for low, high in sides))
            boxes.append([low for low, _ in sides] + [high for _, high in sides])
    labels = draw(st.lists(st.integers(0, len(classes) - 1), min_size=len(boxes), max_size=len(boxes)))
    columns = np.array(boxes, np.float32).reshape(-1, 4)
    return DatasetIndex(
        root=Path(),
        file_names=np.array([name.encode() for name in names], np.bytes_),
        image_ids=np.array([5, 1, 2**40]),
        sizes=np.array([[HEIGHT, width] for width in WIDTHS], np.int32),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=columns,
        labels=np.array(labels, np.int64),
        crowd=np.array(draw(st.lists(st.booleans(), min_size=len(boxes), max_size=len(boxes))), np.bool_),
        areas=(columns[:, 2:] - columns[:, :2]).prod(1),
        names=tuple(classes),
        category_ids=np.arange(len(classes)) + 1,
    )


def placed(index: DatasetIndex, store: Path, folder: Path) -> DatasetIndex:
    """Return the index with its image files in a folder."""
    folder.mkdir()
    for name, width in zip(index.file_names.tolist(), WIDTHS):
        (folder / name.decode()).hardlink_to(store / f"{width}.png")
    return replace(index, root=folder)


def content(index: DatasetIndex, crowds: bool = True) -> dict[int, list[tuple[str, bool, list[float]]]]:
    """Return the objects of each image by its width: class name, crowd, box."""
    found = {}
    for i, (_, width) in enumerate(index.sizes.tolist()):
        rows = range(index.offsets[i], index.offsets[i + 1])
        found[width] = sorted(
            (index.names[index.labels[row]], bool(index.crowd[row]), index.boxes[row].tolist())
            for row in rows
            if crowds or not index.crowd[row]
        )
    return found


@pytest.mark.parametrize("format", ["coco", "yolo", "voc"])
@bounded
@given(index=indexes())
def test_a_data_set_is_read_as_it_was_written(store: Path, format: str, index: DatasetIndex) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = placed(index, store, Path(folder) / "source")
        target = Path(folder) / "target"
        if format == "voc" and any(name != name.strip() or not name.isprintable() for name in index.names):
            with pytest.raises(DataError, match="VOC cannot hold this name"):
                convert({"train": source}, target, WRITERS[format], "hardlink")
            return
        assume(format == "coco" or len(index.boxes) > (index.crowd.sum() if format == "yolo" else 0))
        convert({"train": source}, target, WRITERS[format], "hardlink")
        again = read_dataset(target, "train", format)
        expected, found = content(index, format != "yolo"), content(again)
    assert found.keys() == expected.keys()
    for width, objects in expected.items():
        assert [each[:2] for each in found[width]] == [each[:2] for each in objects]
        for (*_, box), (*_, same) in zip(found[width], objects):
            assert all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-5) for a, b in zip(box, same))


@bounded
@given(index=indexes())
def test_coco_keeps_every_column(store: Path, index: DatasetIndex) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = placed(index, store, Path(folder) / "images")
        write_coco(source, Path(folder) / "train.json")
        again = read_dataset(Path(folder) / "train.json")
        assert [Path(again.path(i)).name for i in range(3)] == [name.decode() for name in index.file_names.tolist()]
        for column in ("image_ids", "sizes", "offsets", "labels", "crowd", "names", "category_ids"):
            np.testing.assert_array_equal(getattr(again, column), getattr(index, column))
        np.testing.assert_allclose(again.boxes, index.boxes, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(again.areas, index.areas, rtol=1e-5)


@bounded
@given(content=text, encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
@example("\ufeff", "utf-16")
def test_text_is_read_in_each_encoding(content: str, encoding: str) -> None:
    assume("\0" not in content and not content.startswith("\ufeff"))
    expected = content.replace("\r\n", "\n").replace("\r", "\n")
    assert decode_text(content.encode(encoding)) == expected


def test_marks_of_encodings_are_told_apart() -> None:
    assert decode_text(codecs.BOM_UTF32_LE + "a".encode("utf-32-le")) == "a"


@bounded
@given(st.text())
def test_a_message_is_one_printable_line(content: str) -> None:
    line = printable(content)
    assert line.isprintable()
    assert printable(line) == line
    assert content != line or content.isprintable()


@bounded
@given(st.lists(file_names, max_size=5, unique=True))
def test_every_name_finds_itself(names: list[str]) -> None:
    lookup = NameLookup(names)
    for name in names:
        assert lookup.find(name) == name
        near = lookup.find(unicodedata.normalize("NFD", name))
        assert near is None or unicodedata.normalize("NFC", near.casefold()) == unicodedata.normalize(
            "NFC", name.casefold()
        )


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
@bounded
@given(pixels=nps.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_lossless_images_are_decoded_to_their_pixels(format: str, options: dict[str, bool], pixels: np.ndarray) -> None:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, format, **options)
    np.testing.assert_array_equal(decode_image(target.getvalue(), "image"), pixels)
