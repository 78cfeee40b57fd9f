from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paa.data.index import Windows
from tests.data.data_files import make_index


@pytest.mark.parametrize("seed", range(4))
def test_select(tmp_path: Path, seed: int) -> None:
    index = make_index(tmp_path, [(20, 30)] * 6, boxes_each=3)
    order = np.random.default_rng(seed).permutation(6)[:4]
    chosen = index.select(order)
    assert len(chosen) == 4
    for new, old in enumerate(order.tolist()):
        assert chosen.path(new) == index.path(old)
        for a, b in zip(chosen.targets(new), index.targets(old)):
            np.testing.assert_array_equal(a, b)
    assert len(index.select(np.zeros(0, np.int64)).boxes) == 0


def test_select_of_windows(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(20, 30)] * 3)
    windows = Windows(np.arange(6, dtype=np.int32).reshape(3, 2), index.sizes * 2)
    chosen = replace(index, windows=windows).select(np.array([2, 0])).windows
    assert chosen is not None
    assert (chosen.corners.tolist(), chosen.file_sizes.tolist()) == ([[4, 5], [0, 1]], [[40, 60]] * 2)


def test_pickles(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(20, 30)])
    again = pickle.loads(pickle.dumps(index))
    assert again.path(0) == index.path(0)
