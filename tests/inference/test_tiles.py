from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

import paa
from paa.config import InferenceConfig, LoadingConfig, TilesConfig
from paa.core.postprocess import DetectedBatch
from paa.data.batch import collate
from paa.data.read import read_dataset
from paa.data.tiles import tile_boxes
from paa.data.transforms import resize
from paa.evaluation.dataset import evaluate_dataset
from paa.inference import tiles as module
from paa.inference.dataset import detect_dataset
from paa.inference.detect import detect_batch
from paa.inference.predict import predict
from paa.inference.table import DetectionTable
from paa.inference.tiles import detect_tiles, neighbours
from paa.model.detector import Detector
from paa.predictor import PAA
from paa.runtime.distributed import Process

CPU = Process(torch.device("cpu"))
TILE = 64


def draw(height: int, width: int, seed: int = 0) -> Tensor:
    """Draw an image (3, height, width) of large blots."""
    coarse = torch.randint(0, 256, (3, 6, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return resize(coarse, torch.zeros(0, 4), (height, width), legacy=False)[0]


def with_objects(height: int, width: int, boxes: list[list[int]]) -> Tensor:
    """Return a black image with a red rectangle at each box."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    for x1, y1, x2, y2 in boxes:
        image[0, y1:y2, x1:x2] = 255
    return image


class Perfect(Detector):
    """Finds each red rectangle that it sees, as an object of class 1; the more it sees, the higher the score.

    A whole object has at least half the score of its parts, though it is smaller in the whole image.
    """

    def detect(self, images: Tensor, sizes: Tensor, config: InferenceConfig = InferenceConfig()) -> DetectedBatch:
        count = config.max_detections
        found = DetectedBatch(
            torch.zeros(len(images), count, 4), torch.zeros(len(images), count), torch.full((len(images), count), -1)
        )
        for b, (height, width) in enumerate(sizes.tolist()):
            objects = ndimage.find_objects(ndimage.label(images[b, 0, :height, :width] > 127)[0])
            corners = [(x.start, y.start, x.stop, y.stop) for y, x in objects]
            boxes = torch.tensor(sorted(corners, key=lambda c: (c[0] - c[2]) * (c[3] - c[1]))).view(-1, 4)
            found.boxes[b, : len(boxes)] = boxes.float()
            found.scores[b, : len(boxes)] = ((boxes[:, 2:] - boxes[:, :2]).prod(1) / 2**17) ** 0.25
            found.labels[b, : len(boxes)] = 1
        return found


@pytest.fixture(scope="module")
def detector(checkpoint: Path) -> PAA:
    return paa.load(checkpoint, "cpu")


@pytest.fixture(scope="module")
def perfect(detector: Detector) -> Perfect:
    """Return a perfect detector that does not resize tiles of 64 pixels."""
    return Perfect(detector.config, detector.names)


def found_boxes(detector: Detector, image: Tensor, **options: object) -> list[list[float]]:
    """Return the boxes in an image, sorted."""
    config = InferenceConfig(tiles=TilesConfig(TILE, **options))  # type: ignore[arg-type]
    images, sizes = collate([image])
    found = detect_tiles(detector, images, sizes, config)
    return sorted(found.boxes[found.labels >= 0].round(decimals=2).tolist())


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("whole", [True, False])
def test_every_object_is_counted_once(perfect: Perfect, seed: int, whole: bool) -> None:
    """Objects up to the length of the overlap, less the margin, wherever they lie: whole, cut in two or in four."""
    random = np.random.default_rng(seed)
    height, width = random.integers(50, 300, 2).tolist()
    boxes: list[list[int]] = []
    for _ in range(60):
        sides = random.integers(6, 20, 2)
        x, y = random.integers(0, np.array([width, height]) - sides).tolist()
        box = [x, y, x + int(sides[0]), y + int(sides[1])]
        if all(box[2] + 9 < b[0] or b[2] + 9 < box[0] or box[3] + 9 < b[1] or b[3] + 9 < box[1] for b in boxes):
            boxes.append(box)
    found = found_boxes(perfect, with_objects(height, width, boxes), overlap=22 / TILE, whole=whole)
    if min(height, width) >= TILE:  # tiles are not resized, so that the detector is exact
        assert found == sorted(boxes)
    else:
        assert len(found) == len(boxes)


def test_objects_on_every_border_and_corner(perfect: Perfect) -> None:
    size = 170
    tiles = tile_boxes(size, size, TilesConfig(TILE, 0.3))
    for x in np.unique(tiles[:, [0, 2]]):
        for y in np.unique(tiles[:, [1, 3]]):
            box = [max(0, int(x) - 7), max(0, int(y) - 5), min(size, int(x) + 8), min(size, int(y) + 9)]
            assert found_boxes(perfect, with_objects(size, size, [box]), overlap=0.3) == [box]


@pytest.mark.parametrize("box", [[10, 10, 110, 40], [80, 5, 100, 160], [20, 30, 150, 155]])
def test_an_object_longer_than_the_overlap_comes_from_the_whole_image(perfect: Perfect, box: list[int]) -> None:
    small = [161, 161, 169, 169]
    image = with_objects(170, 170, [box, small])
    found = found_boxes(perfect, image)
    assert len(found) == 2
    np.testing.assert_allclose(found, sorted([box, small]), atol=3)
    assert len(found_boxes(perfect, image, whole=False)) > 2


def test_the_whole_image_adds_no_small_objects(perfect: Perfect) -> None:
    boxes = [[x, y, x + 9, y + 7] for x in range(0, 240, 30) for y in range(0, 240, 40)]
    assert found_boxes(perfect, with_objects(256, 256, boxes)) == sorted(boxes)


def test_neighbours() -> None:
    tiles = torch.from_numpy(tile_boxes(100, 150, TilesConfig(TILE, 0.2)))
    assert tiles[:, 0].unique().tolist() == [0, 43, 86]
    assert tiles[:, 1].unique().tolist() == [0, 36]
    inf = float("inf")
    expected = [[-inf, -inf, 43, 36], [64, -inf, 86, 36], [107, -inf, inf, 36]]
    expected += [[-inf, 64, 43, inf], [64, 64, 86, inf], [107, 64, inf, inf]]
    assert neighbours(tiles).tolist() == expected
    several = torch.from_numpy(tile_boxes(40, 100, TilesConfig(TILE, 0.7)))  # three tiles share some pixels
    assert several[:, 0].tolist() == [0, 18, 36]
    assert neighbours(several)[:, [0, 2]].tolist() == [[-inf, 18], [64, 36], [82, inf]]


@pytest.mark.parametrize("size", [(64, 90), (32, 40), (150, 100), (9, 7)])
@pytest.mark.parametrize("inclusive", [False, True])
def test_an_image_of_one_tile_is_detected_as_without_tiles(
    detector: Detector, size: tuple[int, int], inclusive: bool
) -> None:
    model: Detector = detector
    if inclusive:
        model = Detector(dataclasses.replace(detector.config, legacy=True), detector.names).eval()
        model.load_state_dict(detector.state_dict())
    image = draw(*size)
    ((_, expected),) = predict(model, [image])
    ((_, found),) = predict(model, [image], InferenceConfig(tiles=TilesConfig(150)))
    assert len(expected) > 5
    for name in ("boxes", "scores", "labels"):
        tolerance = 1e-4 if inclusive and name == "boxes" else 0  # inclusive pixels are rounded once more
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=tolerance)


def test_a_tile_is_resized_as_a_whole_image(detector: Detector) -> None:
    """Without an overlap and a merge, the detections are those of the tiles as images of their own."""
    image = draw(40, 200)
    config = InferenceConfig(tiles=TilesConfig(100, overlap=0, whole=False), nms_iou=1.0, voting=False)
    limited = dataclasses.replace(config, max_detections=1000)
    ((_, found),) = predict(detector, [image], limited)
    halves = [image[:, :, :100], image[:, :, 100:]]
    alone = [d for _, d in predict(detector, halves, dataclasses.replace(limited, tiles=None))]
    inside = [(d.boxes[:, 2] < 98) if i == 0 else (d.boxes[:, 0] > 2) for i, d in enumerate(alone)]
    for d, offset in zip(alone, (0, 100)):
        d.boxes[:, ::2] += offset
    rows = np.concatenate([np.c_[d.labels, d.scores, d.boxes][kept] for d, kept in zip(alone, inside)])
    table = np.c_[found.labels, found.scores, found.boxes]
    assert len(rows) > 20
    for row in rows:
        assert np.abs(table - row).max(1).min() < 2e-3


@pytest.mark.parametrize("tiles", [TilesConfig(48), TilesConfig(40, 0.4, whole=False)])
def test_detections_do_not_depend_on_the_batch(detector: Detector, shapes: Path, tiles: TilesConfig) -> None:
    index, inference = read_dataset(shapes, "train"), InferenceConfig(tiles=tiles)
    tables, summaries = [], []
    for batch_size in (1, 3, 8):
        loading = LoadingConfig(batch_size=batch_size, workers=0)
        evaluated = evaluate_dataset(detector, index, CPU, inference, loading)
        assert evaluated is not None
        order = np.argsort(evaluated.table.image, kind="stable")
        tables.append(evaluated.table.select(order))
        summaries.append(evaluated.metrics.summary)
    paths = [index.path(i) for i in range(len(index))]
    singles = [
        DetectionTable(np.full(len(found), i), found.boxes, found.scores, found.labels)
        for i, (_, found) in enumerate(predict(detector, paths, inference, batch_size=2))
    ]
    tables.append(DetectionTable.concatenate(singles))
    for table in tables[1:]:
        for name, column in vars(table).items():
            np.testing.assert_allclose(column, getattr(tables[0], name), rtol=0, atol=1e-4)
    assert summaries[1:] == summaries[:-1]
    plain = detect_dataset(detector, index, CPU, loading=LoadingConfig(workers=0)).table
    assert len(plain) != len(tables[0]) or np.abs(plain.scores - tables[0].scores).max() > 0.01


def test_the_other_settings_hold(detector: Detector) -> None:
    image = draw(150, 170)
    size = torch.tensor([[150, 170]])

    def rows(**changes: object) -> Tensor:
        config = InferenceConfig(tiles=TilesConfig(TILE), **changes)  # type: ignore[arg-type]
        found = detect_batch(detector, *collate([image]), size, config)
        valid = found.labels[0] >= 0
        return torch.cat([found.scores[0, valid, None], found.boxes[0, valid]], 1)

    usual, few, unvoted = rows(), rows(max_detections=7), rows(voting=False)
    assert torch.equal(usual[:7], few)
    assert (usual[:, 0].diff() <= 0).all()
    assert torch.equal(unvoted[:5, 0], usual[:5, 0])
    assert (unvoted[:5] - usual[:5]).abs().max() > 0.01
    least = float(usual[30, 0])
    assert len(rows(threshold=least)) == int((usual[:, 0] >= least).sum()) < len(usual)
    assert len(rows(max_detections=10_000, nms_iou=0.1)) < len(rows(max_detections=10_000))
    half = rows(precision="bfloat16")
    assert half.dtype == torch.float32
    assert float(half[0, 0]) == pytest.approx(float(usual[0, 0]), rel=0.05)


def test_nothing_found(checkpoint: Path) -> None:
    model = paa.load(checkpoint, "cpu")
    torch.nn.init.constant_(model.head.cls_logits.bias, -99)
    assert len(model.predict(draw(150, 170), tiles=TILE)) == 0


def test_tiles_that_predict_takes(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("paa.predictor.predict", lambda _, __, config, **___: asked.append(config.tiles) or [])
    model, own = paa.load(checkpoint, "cpu"), TilesConfig(300, 0.4)
    for inference in (InferenceConfig(), InferenceConfig(tiles=own)):
        model.inference = inference
        model.predict([])
        for tiles in (0, 200, TilesConfig(400)):
            model.predict([], tiles=tiles)
    model.predict([], tiles=0, multi_scale=True)
    some = [None, TilesConfig(200), TilesConfig(400)]
    assert asked == [None, *some, own, *some, None]


def test_a_model_in_training_stays_one(checkpoint: Path) -> None:
    model = paa.load(checkpoint, "cpu").train()
    model.predict(draw(150, 170), tiles=TILE)
    assert model.training


def test_covered_parts_are_those_that_a_whole_box_of_their_class_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the pairs are looked at a few at a time."""
    generator = torch.Generator().manual_seed(0)
    corner = 100 * torch.rand(60, 2, generator=generator)
    boxes = torch.cat([corner, corner + 1 + 40 * torch.rand(60, 2, generator=generator)], dim=1)
    labels, whole = torch.arange(60) % 2, torch.rand(60, generator=generator) < 0.5
    scores = torch.rand(60, generator=generator)
    shared = torch.minimum(boxes[:, None, 2:], boxes[:, 2:]) - torch.maximum(boxes[:, None, :2], boxes[:, :2])
    share = shared.clamp(min=0).prod(2) / (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None]
    mostly = (share >= 0.7) & (labels[:, None] == labels) & whole
    expected = (mostly & (scores >= scores[:, None] / 2)).any(1) & ~whole  # a poor box takes away no good one
    assert 0 < expected.sum() < (mostly.any(1) & ~whole).sum()
    for pairs in (1, 100, 1 << 20):
        monkeypatch.setattr(module, "_PAIRS_AT_ONCE", pairs)
        assert torch.equal(module.covered(boxes, scores, labels, whole), expected)
