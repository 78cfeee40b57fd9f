"""assignment.json and what the page shows: every object in the file, only some of them in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.errors import ImageError
from paa.explanation.objects import ObjectAssignment
from paa.explanation.picture import level_colour
from paa.explanation.plain import to_plain
from paa.explanation.summary import summarise
from paa.report.explanation import Fewest, write_numbers, write_pictures
from paa.report.explanation_tables import group_rows, what_if_rows
from tests.explanation.objects import LEVELS, alternative, make_object

ABOUT = ("best.pt", "data", "val", "paa")


@pytest.fixture
def index(shapes: Path) -> DatasetIndex:
    return read_dataset(shapes)


def objects(index: DatasetIndex) -> list[ObjectAssignment]:
    """Return an object for each annotation of the first three images, with 5, 4, 3, 2, 1, 0, 5, ... positives."""
    rows = range(int(index.offsets[3]))
    image = [next(i for i in range(3) if row < index.offsets[i + 1]) for row in rows]
    return [
        replace(make_object(5 - row % 6, 8, seed=row, what_if={"atss": alternative(3, 1)}), image=image[row], row=row)
        for row in rows
    ]


def test_every_number_is_in_the_file(tmp_path: Path, index: DatasetIndex) -> None:
    given = objects(index)
    explained = write_numbers(tmp_path / "out", iter(given), index, ABOUT, 4, lambda: 3)
    values = json.loads((tmp_path / "out" / "assignment.json").read_text())
    assert (values["checkpoint"], values["data"], values["split"], values["assigner"]) == ABOUT
    assert (values["images"], values["crowds"]) == (3, 0)
    assert values["levels"] == [level._asdict() for level in LEVELS]
    assert len(values["objects"]) == len(given) > 6
    for one, written in zip(given, values["objects"]):
        assert written["annotation"] == one.row - index.offsets[one.image] + 1
        assert written["image_id"] == index.image_ids[one.image]
        assert {name: written[name] for name in to_plain(one)} == json.loads(json.dumps(to_plain(one)))
    assert values["summary"]["whole"]["objects"] == len(given)
    assert values["summary"]["whole"]["none"] == sum(one.positives == 0 for one in given)
    assert [one.positives for one in explained.shown] == sorted(one.positives for one in given)[:4]


def test_no_object(tmp_path: Path, index: DatasetIndex) -> None:
    explained = write_numbers(tmp_path, iter(()), index, ABOUT, 4, lambda: 0)
    values = json.loads((tmp_path / "assignment.json").read_text())
    assert values["objects"] == values["levels"] == explained.shown == []
    assert group_rows([explained.summary.whole], (), "size") == what_if_rows(explained.summary) == []


def test_an_error_leaves_no_half_written_file(tmp_path: Path, index: DatasetIndex) -> None:
    def broken() -> Iterator[ObjectAssignment]:
        yield make_object()
        raise ImageError("broken.jpg: broken")

    with pytest.raises(ImageError):
        write_numbers(tmp_path, broken(), index, ABOUT, 4, lambda: 0)
    assert list(tmp_path.iterdir()) == []


def test_only_the_objects_of_the_page_stay_in_memory() -> None:
    fewest, one = Fewest(3), make_object()
    for row in range(1000):
        fewest.add(replace(one, positives=row % 7 + 1, row=row))
        assert len(fewest._kept) < 3 * 2 + 101
    assert [(one.positives, one.row) for one in fewest.kept()] == [(1, 0), (1, 7), (1, 14)]


def test_tables(index: DatasetIndex) -> None:
    summary = summarise(objects(index))
    (row,) = group_rows([summary.whole], LEVELS, "size")
    assert list(row)[:6] == ["size", "objects", "positives", "on P3", "on P4", "on P5"]
    names = [row["name"] for row in what_if_rows(summary)]
    assert names == ["atss", "cut=foreground", "cut=low-mean", "cut=middle"]


def test_pictures(tmp_path: Path, index: DatasetIndex) -> None:
    shown = objects(index)[:2]
    written = write_pictures(tmp_path, shown, index)
    assert [path.name for path in written] == ["assignment-1.png", "assignment-2.png"]
    with Image.open(written[0]) as picture:
        assert picture.size == (760, 330)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert {level_colour(level) for level in shown[0].candidates.levels.tolist()} <= colours
    names = index.file_names.copy()
    names[:] = b"lost.jpg"
    assert write_pictures(tmp_path / "other", shown, replace(index, file_names=names)) == []
