from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from paa.data.formats.coco.masks import mask_box


@pytest.mark.parametrize("seed", range(40))
def test_the_boxes_of_pycocotools(seed: int) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 90, 2).tolist()
    mask = np.zeros((height, width), np.uint8)
    for _ in range(random.integers(1, 4)):
        top, left = random.integers(0, height), random.integers(0, width)
        mask[top : top + random.integers(1, 40), left : left + random.integers(1, 40)] = 1
    if seed % 3 == 0:
        mask &= random.random((height, width)) < 0.3
    mask[-1, -1] |= seed % 2
    encoded = coco_mask.encode(np.asfortranarray(mask))
    text = {"size": [height, width], "counts": encoded["counts"].decode()}
    pixels = mask.T.reshape(-1)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], pixels]))).tolist()
    runs = np.diff([0, *changes, len(pixels)]).tolist()
    expected = tuple(coco_mask.toBbox(encoded).tolist()) if mask.any() else None
    assert mask_box(text, (height, width)) == expected
    assert mask_box({"size": [height, width], "counts": runs}, (0, 0)) == expected


@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        ([[10, 20, 30.5, 20, 30, 40]], (10, 20, 20.5, 20)),
        ([[10, 20, 11, 21], [1, 2, 3, 4]], (1, 2, 10, 19)),
        ([5, 6, 7, 9], (5, 6, 2, 3)),
        ([[]], None),
        ([], None),
        (None, None),
        ({"size": [4, 4], "counts": [16]}, None),
        ({"size": [4, 4], "counts": [0, 16]}, (0, 0, 4, 4)),
        ({"size": [4, 4], "counts": [3, 0, 13]}, None),
        ({"size": [4, 4], "counts": [3, 2, 11]}, (0, 0, 2, 4)),
        ({"size": [4, 4], "counts": [15, 1]}, (3, 3, 1, 1)),
    ],
    ids=str,
)
def test_boxes(segmentation: Any, box: tuple[float, ...] | None) -> None:
    assert mask_box(segmentation, (4, 4)) == box


@pytest.mark.parametrize(
    ("segmentation", "says"),
    [
        ("text", "neither polygons nor run lengths"),
        ({"size": [4, 4]}, "neither polygons nor run lengths"),
        ({"size": [4, -4], "counts": []}, "without size"),
        ({"size": "4x4", "counts": []}, "without size"),
        ({"size": [4, 5], "counts": [20]}, "4 high and 5 wide, but its image is 4 high and 4 wide"),
        ({"size": [4, 4], "counts": [10, 5]}, "do not add up to 4 x 4 pixels"),
        ({"size": [4, 4], "counts": [20, -4]}, "not whole numbers"),
        ({"size": [4, 4], "counts": [10.5, 5.5]}, "not whole numbers"),
        ({"size": [4, 4], "counts": [1 << 70]}, "not whole numbers"),
        ({"size": [4, 4], "counts": 16}, "not whole numbers"),
        ({"size": [4, 4], "counts": "\x01"}, "unknown encoding"),
        ({"size": [4, 4], "counts": "o" * 40}, "unknown encoding"),
        ({"size": [4, 4], "counts": "o"}, "end in the middle of a number"),
        ([[1, 2, 3]], "not pairs of finite numbers"),
        ([[1, float("nan")] * 2], "not pairs of finite numbers"),
        ([[[1, 2], [3, 4]]], "not pairs of finite numbers"),
        ([{"x": 1}], "not numbers"),
        ([[1, 2], 3], "not pairs of finite numbers"),
    ],
    ids=str,
)
def test_what_is_wrong(segmentation: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        mask_box(segmentation, (4, 4))
