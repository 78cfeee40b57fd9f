from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

import paa
from paa.config import InferenceConfig, LoadingConfig, MultiScaleConfig
from paa.core.merging import merge_views
from paa.core.postprocess import DetectedBatch
from paa.data.batch import collate
from paa.data.read import read_dataset
from paa.data.transforms import resize
from paa.inference.dataset import detect_dataset
from paa.inference.multi_scale import detect_multi_scale
from paa.inference.predict import predict
from paa.inference.table import DetectionTable
from paa.model.detector import Detector
from paa.runtime.distributed import Process

CPU = Process(torch.device("cpu"))
SMALL = MultiScaleConfig(scales=(48, 96), windows=((20, 1000), (0, 40)), max_size=200)
KEEP_ALL = {"merge": "vote", "iou": 1.0}
"""Only boxes that are equal are merged."""


@pytest.fixture(scope="module")
def detector(checkpoint: Path) -> Detector:
    return paa.load(checkpoint, "cpu")


@pytest.fixture(scope="module")
def legacy(detector: Detector) -> Detector:
    model = Detector(dataclasses.replace(detector.config, legacy=True), detector.names).eval()
    model.load_state_dict(detector.state_dict())
    return model


def draw(height: int, width: int, seed: int = 0) -> Tensor:
    """Draw an image (3, height, width) of large blots."""
    coarse = torch.randint(0, 256, (3, 6, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return resize(coarse, torch.zeros(0, 4), (height, width), legacy=False)[0]


def views(scales: Sequence[int] = (), windows: Sequence[tuple[int, int]] = (), **others: Any) -> MultiScaleConfig:
    return MultiScaleConfig(scales=tuple(scales), windows=tuple(windows), **{"mirror": False, **KEEP_ALL, **others})


def detect(detector: Detector, image: Tensor, config: MultiScaleConfig, limit: int = 1000) -> Tensor:
    """Return rows (n, 6) of label, score, box."""
    images, sizes = collate([image])
    return rows(detect_multi_scale(detector, images, sizes, InferenceConfig(max_detections=limit, views=config)))


def rows(found: DetectedBatch, image: int = 0) -> Tensor:
    valid = found.labels[image] >= 0
    columns = (found.labels[image, :, None].float(), found.scores[image, :, None], found.boxes[image])
    return torch.cat(columns, 1)[valid]


def plain(detector: Detector, image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the rows of an image resized to `size`, without the functions that make the views."""
    view = resize(image, torch.zeros(0, 4), size, legacy=False)[0]
    view = pad(view, (0, -size[1] % 32, 0, -size[0] % 32))
    return rows(detector.detect(view[None], torch.tensor([size]), InferenceConfig(max_detections=1000)))


def moved(found: Tensor, before: tuple[int, int], after: tuple[int, int], inclusive: bool) -> Tensor:
    """Return rows of an image of size `before` where they are at size `after`."""
    ratio = torch.tensor([after[1] / before[1], after[0] / before[0]] * 2)
    one = torch.tensor([0.0, 0, 1, 1]) if inclusive else torch.zeros(4)
    return torch.cat([found[:, :2], (found[:, 2:] - one) * ratio + one], 1)


def mirrored(found: Tensor, width: int) -> Tensor:
    label, score, x1, y1, x2, y2 = found.unbind(1)
    return torch.stack([label, score, width - x2, y1, width - x1, y2], 1)


def assert_same(found: Tensor, expected: Tensor) -> None:
    """Assert equal rows, but for rounding and the order of equal scores."""
    assert len(found) == len(expected) > 5
    assert (found[:, 1].diff() <= 0).all()
    for row in expected:
        nearest = (found - row).abs().amax(1).argmin()
        torch.testing.assert_close(found[nearest], row, rtol=0, atol=2e-3)
    torch.testing.assert_close(found[:, 1], expected[:, 1].sort(descending=True)[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [(64, 90), (32, 40), (150, 100)])
def test_the_ordinary_view_alone_is_plain_detection(detector: Detector, size: tuple[int, int]) -> None:
    image = draw(*size)
    ((_, expected),) = predict(detector, [image])
    columns = (torch.from_numpy(expected.labels)[:, None].float(), torch.from_numpy(expected.scores)[:, None])
    table = torch.cat([*columns, torch.from_numpy(expected.boxes)], 1)
    assert_same(detect(detector, image, views()), table)
    assert_same(detect(detector, image, views([64], [(0, 10_000)], max_size=96)), table)


def test_a_mirrored_view_finds_what_is_in_the_mirror(detector: Detector) -> None:
    image = draw(64, 90)
    expected = [plain(detector, image, (64, 90)), mirrored(plain(detector, image.flip(2), (64, 90)), 90)]
    assert_same(detect(detector, image, views(mirror=True)), torch.cat(expected))


def test_a_symmetric_image_has_symmetric_detections(detector: Detector) -> None:
    half = draw(64, 40)
    image = torch.cat([half, half.flip(2)], 2)
    # half its size: at others torch 2.8 resizes a mirrored image to one that differs by a grey level
    found = detect(detector, image, views([32], [(0, 10_000)], max_size=200, mirror=True))
    assert_same(found, mirrored(found, 80))


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
def test_windows_and_frames(detector: Detector, legacy: Detector, inclusive: bool, mirror: bool) -> None:
    """The views' boxes are filtered in their own pixels, and come back in those of an image that is not square."""
    model, size, frame = legacy if inclusive else detector, (100, 140), (64, 89)
    image = draw(*size)
    expected = []
    for view, (low, high) in ((frame, (0, math.inf)), ((48, 67), (20, 1000)), ((96, 134), (0, 40))):
        found = [plain(model, image, view)]
        if mirror:
            flipped = resize(image, torch.zeros(0, 4), view, legacy=False)[0].flip(2)
            found.append(mirrored(plain(model, flipped, view), view[1]))
        for table in found:
            sides = table[:, 4:] - table[:, 2:4]
            kept = (sides.prod(1) > low**2) & (sides.prod(1) < high**2)
            assert 0 < kept.sum() < len(kept) or view == frame
            expected.append(moved(moved(table[kept], view, frame, inclusive), frame, size, inclusive))
    config = dataclasses.replace(SMALL, mirror=mirror, **KEEP_ALL)  # type: ignore[arg-type]
    assert_same(detect(model, image, config), torch.cat(expected))


@pytest.mark.parametrize("kind", ["vote", "soft-vote"])
@pytest.mark.parametrize("iou", [0.5, 0.9])
def test_what_all_views_find_is_merged(detector: Detector, kind: Any, iou: float) -> None:
    image = draw(64, 90)  # of the ordinary size, so that the frame is the image
    every = detect(detector, image, dataclasses.replace(SMALL, **KEEP_ALL))  # type: ignore[arg-type]
    config = dataclasses.replace(SMALL, merge=kind, iou=iou)
    boxes, scores, labels = merge_views(
        every[:, 2:], every[:, 1], every[:, 0].long(), threshold=iou, soft=kind != "vote"
    )
    assert len(boxes) != len(every)
    expected = torch.cat([labels[:, None].float(), scores[:, None], boxes], 1)
    assert_same(detect(detector, image, config), expected)
    assert_same(detect(detector, image, config, limit=9), expected[:9])


def test_sizes_of_the_views(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those smaller than the ordinary one keep its cap; a view and its mirror image are one batch."""
    seen: list[Any] = []
    plainly = detector.detect

    def spy(images: Tensor, sizes: Tensor, config: InferenceConfig) -> DetectedBatch:
        seen.append((tuple(images.shape), sizes.tolist()))
        return plainly(images, sizes, config)

    monkeypatch.setattr(detector, "detect", spy)
    detect(detector, draw(20, 80), MultiScaleConfig(scales=(16, 60, 80), windows=((0, 9),) * 3, max_size=200))
    expected = [(24, 96), (16, 64), (24, 96), (50, 200)]
    assert [sizes for _, sizes in seen] == [[list(size)] * 2 for size in expected]
    assert seen[0][0] == (2, 3, 32, 96)


def test_a_batch_gives_each_image_what_it_gives_alone(detector: Detector) -> None:
    singles = [draw(64, 90), draw(120, 40, seed=1), draw(33, 33, seed=2), draw(9, 9)[:, :1, :1]]
    images, sizes = collate(singles)
    together = detect_multi_scale(detector, images, sizes, InferenceConfig(views=SMALL))
    assert together.labels.shape == (4, 100)
    for b, single in enumerate(singles):
        assert torch.equal(rows(together, b), detect(detector, single, SMALL, limit=100))


def test_predict(detector: Detector) -> None:
    originals = [draw(64, 90), draw(120, 40, seed=1)]
    found = list(predict(detector, originals, InferenceConfig(views=SMALL, max_detections=20), batch_size=2))
    for (image, detections), original in zip(found, originals, strict=True):
        np.testing.assert_array_equal(image, original.permute(1, 2, 0))
        expected = detect(detector, original, SMALL, limit=20)
        np.testing.assert_allclose(detections.boxes, expected[:, 2:], atol=1e-3)
        np.testing.assert_array_equal(detections.labels, expected[:, 0])


def test_views_that_predict_takes(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("paa.predictor.predict", lambda _, __, config, **___: asked.append(config.views) or [])
    model = paa.load(checkpoint, "cpu")
    for own in (InferenceConfig(), InferenceConfig(views=SMALL)):
        model.inference = own
        model.predict([])
        for multi_scale in (False, True, SMALL):
            model.predict([], multi_scale=multi_scale)
    assert asked == [None, None, MultiScaleConfig(), SMALL, SMALL, None, MultiScaleConfig(), SMALL]


def test_voting_is_passed_on(detector: Detector) -> None:
    image = draw(64, 90)
    ((_, voted),) = predict(detector, [image], InferenceConfig(views=views()))
    ((_, plainly),) = predict(detector, [image], InferenceConfig(views=views(), voting=False))
    np.testing.assert_array_equal(voted.scores, plainly.scores)
    assert np.abs(voted.boxes - plainly.boxes).max() > 0.01


@pytest.mark.parametrize("given", ["detector", "legacy"])
def test_detections_in_a_data_set_are_those_of_predict(
    request: pytest.FixtureRequest, shapes: Path, given: str
) -> None:
    model, index = request.getfixturevalue(given), read_dataset(shapes, "train")
    done: list[int] = []
    loading = LoadingConfig(batch_size=3, workers=0)
    table = detect_dataset(model, index, CPU, InferenceConfig(views=SMALL), loading, done.append).table
    assert sum(done) == 8
    assert max(done) <= 3
    singles = []
    paths = [index.path(i) for i in range(len(index))]
    for i, (_, found) in enumerate(predict(model, paths, InferenceConfig(views=SMALL))):
        singles.append(DetectionTable(np.full(len(found), i), found.boxes, found.scores, found.labels))
    expected = DetectionTable.concatenate(singles)
    order = np.argsort(table.image, kind="stable")
    for name, column in vars(table).items():
        np.testing.assert_allclose(column[order], getattr(expected, name), rtol=0, atol=1e-4)
    single = detect_dataset(model, index, CPU, loading=loading).table
    assert len(single) != len(table) or np.abs(single.scores - table.scores).max() > 0.01


def test_voting_and_precision_are_passed_on(detector: Detector, shapes: Path) -> None:
    index = read_dataset(shapes, "val")
    voted, plainly, half = (
        detect_dataset(detector, index, CPU, InferenceConfig(views=views(), **changes), LoadingConfig(workers=0)).table
        for changes in ({}, {"voting": False}, {"precision": "bfloat16"})
    )
    np.testing.assert_array_equal(voted.scores, plainly.scores)
    assert np.abs(voted.boxes - plainly.boxes).max() > 0.01
    assert half.boxes.dtype == half.scores.dtype == np.float32
    assert half.scores.max() != voted.scores.max()
    assert half.scores.max() == pytest.approx(voted.scores.max(), rel=0.05)


def test_nothing_found(checkpoint: Path) -> None:
    model = paa.load(checkpoint, "cpu")
    torch.nn.init.constant_(model.head.cls_logits.bias, -99)
    assert detect(model, draw(64, 90), SMALL).shape == (0, 6)


def test_a_model_in_training_stays_one(checkpoint: Path) -> None:
    model = paa.load(checkpoint, "cpu").train()
    expected = detect(model, draw(64, 90), SMALL)
    assert model.training
    assert torch.equal(detect(model.eval(), draw(64, 90), SMALL), expected)
