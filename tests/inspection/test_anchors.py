"""Objects that are small, or that no anchor overlaps, against every anchor by brute force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from paa.config import ModelConfig
from paa.core import iou, make_anchors
from paa.data.batch import padded_size
from paa.data.transforms import Resize, scale_boxes
from paa.inspection.anchors import anchor_problems, best_overlaps, resized_boxes
from tests.data.data_files import make_index

CONFIGS = [
    ModelConfig(min_size=200, max_size=333),
    ModelConfig(min_size=200, max_size=333, anchor_scale=2.5),
    ModelConfig(min_size=160, max_size=210, legacy=True),
    ModelConfig(min_size=320, max_size=533, anchor_offset=0.0),
    ModelConfig(min_size=160, max_size=210, first_level=2),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_best_overlap_of_all_anchors(tmp_path: Path, config: ModelConfig) -> None:
    index = make_index(tmp_path, [(60, 80), (100, 37), (50, 50), (31, 200)], boxes_each=25)
    boxes, sizes = resized_boxes(index, config)
    best = best_overlaps(boxes, sizes, config)
    resize = Resize(config.min_size, config.max_size, config.legacy)
    for i in range(len(index)):
        height, width = index.sizes[i].tolist()
        size = resize.size_of(height, width)
        rows = slice(index.offsets[i], index.offsets[i + 1])
        expected = scale_boxes(torch.from_numpy(index.boxes[rows]), (height, width), size, config.legacy)
        torch.testing.assert_close(torch.from_numpy(boxes[rows]).float(), expected, rtol=1e-5, atol=1e-3)
        padded, levels = padded_size([size]), []
        rows_columns = (padded[0] // config.strides[0], padded[1] // config.strides[0])
        for _ in config.strides:
            levels.append(rows_columns)
            rows_columns = (-(-rows_columns[0] // 2), -(-rows_columns[1] // 2))
        anchors = make_anchors(
            levels,
            config.strides,
            scale=config.anchor_scale,
            offset=config.anchor_offset,
            shift=0.5 if config.legacy else 0.0,
        )
        brute = iou(expected[:, None], anchors).amax(1)
        torch.testing.assert_close(torch.from_numpy(best[rows]).float(), brute, rtol=1e-4, atol=1e-5)
    assert (best < 0.1).any()
    assert (best > 0.3).any()


def test_problems_name_the_objects_to_train_on(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(100, 100), (100, 100)])
    boxes = np.array([[0, 0, 1, 2], [10, 10, 40, 60], [5, 5, 6, 7], [20.25, 20, 24, 23]], np.float32)
    index = replace(index, boxes=boxes, crowd=np.array([False, False, True, False]))
    config = ModelConfig(min_size=200, max_size=333)
    problems = list(anchor_problems("val", index, config, small=4))
    assert [(p.kind.name, p.image_id, p.object) for p in problems] == [
        ("small", 1, 1),
        ("no-anchor", 1, 1),
        ("no-anchor", 2, 2),
    ]
    assert problems[0].box == (0, 0, 1, 2)
    assert problems[0].class_name == "a"
    assert problems[0].message == (
        f"{tmp_path}/0.png: object 1, a at (0, 0, 1, 2), has 2.8 pixels a side where the short side of images has 200"
    )
    assert problems[2].message == (
        f"{tmp_path}/1.png: object 2, a at (20.25, 20, 24, 23), is 8 x 6 pixels where the short side of images has "
        "200, and overlaps no anchor by more than 0.01"
    )
    assert list(anchor_problems("val", index, replace(config, anchor_scale=1.0), small=0)) == []
