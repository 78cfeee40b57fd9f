from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from paa.core.merging import merge_views

Columns = tuple[Tensor, Tensor, Tensor]


def iou(a: Tensor, b: Tensor) -> float:
    """The IoU of two boxes (4,), in plain arithmetic."""
    ax1, ay1, ax2, ay2 = a.tolist()
    bx1, by1, bx2, by2 = b.tolist()
    inside = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    return inside / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - inside)


def reference(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float, soft: bool) -> Columns:
    """The rules, one box after the other."""
    result: list[tuple[list[float], float, int]] = []
    for label in labels.unique().tolist():
        left = [i for i in scores.argsort(descending=True, stable=True).tolist() if labels[i] == label]
        while left:
            best = left[0]
            cluster = [i for i in left if i == best or iou(boxes[best], boxes[i]) >= threshold]
            left = [i for i in left if i not in cluster]
            mean = sum(scores[i].double() * boxes[i].double() for i in cluster) / sum(
                scores[i].double() for i in cluster
            )
            result.append((boxes[best].tolist() if len(cluster) == 1 else mean.tolist(), float(scores[best]), label))
            for i in cluster[1:]:
                lowered = float(scores[i]) * (1 - iou(boxes[best], boxes[i]))
                if soft and lowered >= 0.05 - 1e-9:  # a product of tenths and hundredths is rounded
                    result.append((boxes[i].tolist(), lowered, label))
    boxes_out, scores_out, labels_out = zip(*result)
    return torch.tensor(boxes_out), torch.tensor(scores_out), torch.tensor(labels_out)


def crowd(seed: int, count: int, classes: int, objects: int = 4, whole: bool = False) -> Columns:
    """Draw boxes around a few objects; with `whole` numbers of pixels and tenths of score, many of them tie."""
    random = np.random.default_rng(seed)
    truth = np.concatenate(
        [corner := random.uniform(0, 300, (objects, 2)), corner + random.uniform(20, 200, (objects, 2))], 1
    )
    boxes = truth[random.integers(objects, size=count)] + random.normal(0, 6, (count, 4))
    scores, labels = random.uniform(0.06, 1, count), random.integers(classes, size=count)
    if whole:
        boxes, scores = boxes.round(), scores.round(1).clip(0.1)
    return torch.from_numpy(boxes).float(), torch.from_numpy(scores).float(), torch.from_numpy(labels)


def assert_same(found: Columns, expected: Columns) -> None:
    """Compare, in whatever order equal scores stand."""
    assert (found[1].diff() <= 0).all()
    rows = [
        np.concatenate([c.numpy().reshape(len(c), -1) for c in (columns[2], columns[1], columns[0])], 1)
        for columns in (found, expected)
    ]
    assert rows[0].shape == rows[1].shape
    a, b = (table[np.lexsort(table.round(3).T)] for table in rows)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("count", "classes", "threshold"),
    [(2, 1, 0.66), (60, 1, 0.66), (60, 1, 0.3), (60, 1, 1.0), (150, 3, 0.5), (150, 80, 0.66), (200, 2, 0.9)],
)
def test_is_what_the_rules_say(count: int, classes: int, threshold: float, whole: bool, soft: bool) -> None:
    for seed in range(3):
        columns = crowd(seed, count, classes, whole=whole)
        found = merge_views(*columns, threshold=threshold, soft=soft)
        assert_same(found, reference(*columns, threshold=threshold, soft=soft))
        assert [column.dtype for column in found] == [column.dtype for column in columns]


@pytest.mark.parametrize("soft", [False, True])
def test_an_iou_equal_to_the_threshold_is_enough(soft: bool) -> None:
    boxes = torch.tensor([[0.0, 0, 100, 1], [0, 0, 66, 1], [0, 0, 100, 10], [0, 0, 65.99, 10]])
    scores, labels = torch.tensor([0.9, 0.6, 0.8, 0.7]), torch.tensor([1, 1, 5, 5])
    merged, merged_scores, merged_labels = merge_views(boxes, scores, labels, soft=soft)
    mean = (0.9 * 100 + 0.6 * 66) / 1.5
    expected = [[0, 0, mean, 1], [0, 0, 100, 10], [0, 0, 65.99, 10]]
    torch.testing.assert_close(merged[:3], torch.tensor(expected))
    assert merged_scores[:3].tolist() == scores[[0, 2, 3]].tolist()
    assert merged_labels.tolist() == [1, 5, 5, 1][: 4 if soft else 3]
    if soft:
        assert merged[3].tolist() == boxes[1].tolist()
        assert merged_scores[3] == pytest.approx(0.6 * 0.34)


@pytest.mark.parametrize("left", [22, 25])
def test_a_box_goes_to_the_first_that_is_near_enough(left: int) -> None:
    """Though it is nearer to the second best; with 25 pixels its IoU with the best is the threshold, 75 / 125."""
    boxes = torch.tensor([[0.0, 0, 100, 10], [40, 0, 140, 10], [left, 0, left + 100, 10]])
    scores, labels = torch.tensor([0.9, 0.8, 0.5]), torch.zeros(3, dtype=torch.int64)
    merged, _, _ = merge_views(boxes, scores, labels, threshold=0.6, soft=False)
    assert merged[1].tolist() == boxes[1].tolist()
    assert merged[0, 0] == pytest.approx(left * 0.5 / 1.4)


@pytest.mark.parametrize("soft", [False, True])
def test_none_and_one(soft: bool) -> None:
    empty = merge_views(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), soft=soft)
    assert [tuple(column.shape) for column in empty] == [(0, 4), (0,), (0,)]
    box, score, label = torch.tensor([[0.1, 0.2, 30.3, 40.7]]), torch.tensor([0.3]), torch.tensor([7])
    for found, given in zip(merge_views(box, score, label, soft=soft), (box, score, label)):
        assert torch.equal(found, given)


@pytest.mark.parametrize("soft", [False, True])
def test_boxes_without_area_or_score_stay_numbers(soft: bool) -> None:
    boxes = torch.tensor([[5.0, 5, 5, 9], [5, 5, 5, 9], [0, 0, 9, 9], [0, 0, 9, 9]])
    found = merge_views(boxes, torch.tensor([0.5, 0.4, 0.0, 0.0]), torch.zeros(4, dtype=torch.int64), soft=soft)
    assert found[0].tolist() == boxes[:3].tolist()


def test_far_classes_and_large_images_do_not_meet() -> None:
    boxes = torch.tensor([[9990.0, 9990, 10000, 10000]] * 2000) - torch.rand(2000, 1) * 20000
    labels = torch.arange(2000)
    merged, scores, found = merge_views(boxes, torch.rand(2000), labels)
    assert len(scores) == 2000
    assert torch.equal(merged[found.argsort()], boxes)


def test_autocast_changes_nothing() -> None:
    columns = crowd(0, 100, 2)
    with torch.autocast("cpu", torch.bfloat16):
        found = merge_views(*columns)
    for inside, outside in zip(found, merge_views(*columns)):
        assert torch.equal(inside, outside)
