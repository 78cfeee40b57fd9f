from __future__ import annotations

import numpy as np

from paa.inference.table import DetectionTable
from tests.evaluation.coco_sets import make_table

BOX = [0, 0, 1, 1]


def table() -> DetectionTable:
    return make_table([(0, BOX, 0, 0.1), (2, BOX, 1, 0.2), (1, BOX, 2, 0.3), (2, BOX, 0, 0.4)])


def test_other_labels() -> None:
    assert table().relabelled(np.array([5, 3, 4])).labels.tolist() == [5, 3, 4, 5]


def test_images_are_found_in_another_index_by_their_ids() -> None:
    moved = table().moved(np.array([30, 10, 20]), np.array([99, 20, 30]))
    assert moved.image.tolist() == [2, 1, 1]
    np.testing.assert_allclose(moved.scores, [0.1, 0.2, 0.4])
    same = table().moved(np.array([30, 10, 20]), np.array([30, 10, 20]))
    assert same.image.tolist() == table().image.tolist()
    assert len(table().moved(np.array([30, 10, 20]), np.array([1]))) == 0
    assert len(DetectionTable.concatenate([]).moved(np.array([1]), np.array([1]))) == 0
