"""Sheets of images with their objects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from paa.drawing.palette import class_colour
from paa.report.dataset_sheet import Item, object_sheet
from tests.data.data_files import make_index


def pixels_of(sheet: Image.Image, label: int) -> np.ndarray:
    return np.argwhere((np.asarray(sheet) == class_colour(label)).all(axis=2))


def test_boxes_are_drawn_where_they_are(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(100, 100)], boxes_each=3)
    Image.new("RGB", (100, 100), (90, 90, 90)).save(index.path(0))
    boxes = np.array([[20, 30, 80, 90], [0, 0, 10, 10], [5, 5, 6, 6]], np.float32)
    index = replace(index, boxes=boxes)
    wanted = np.array([True, False, False])
    sheet = object_sheet([Item("train", index, 0, wanted)], columns=4, width=220)
    drawn = pixels_of(sheet, 0)
    left, right = drawn[:, 1].min(), drawn[:, 1].max()
    assert (left, right) == (10 + 40, 10 + 159)  # twice as large, behind the gap
    assert drawn[:, 0].max() == 10 + 179
    assert len(pixels_of(sheet, 1)) == len(pixels_of(sheet, 2)) == 0


def test_a_sheet_has_a_place_for_every_image(tmp_path: Path) -> None:
    sizes = [(100, 100), (50, 200), (400, 10), (3, 3), (60, 80)]
    index = make_index(tmp_path, sizes)
    index.crowd[0] = True
    index = replace(index, names=("a" * 90, "b\n", "[c]"))
    objects = np.ones(len(index.boxes), np.bool_)
    items = [Item("val", index, i, objects) for i in range(len(sizes))]
    sheet = object_sheet(items, columns=2, width=400)
    assert sheet.width == 400
    cells = [(min(185 / max(h, w), 2) * h) + 24 for h, w in sizes]
    rows = [max(cells[:2]), max(cells[2:4]), cells[4]]
    assert abs(sheet.height - (sum(rows) + 40)) <= 3
    assert object_sheet(items[:1], columns=9, width=300).width == 300
