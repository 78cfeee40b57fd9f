"""The page of plots: drawn for any data set."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paa.report.dataset_plots import _legible, _whole_edges, dataset_plots
from tests.data.data_files import make_index


def test_a_page(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    index = make_index(tmp_path, [(100, 100), (60, 80)], boxes_each=8)
    empty = make_index(tmp_path, [(100, 100)], boxes_each=0)
    many = replace(index, names=tuple(f"class {i} $x^2$" for i in range(40)), labels=np.arange(16) * 2)
    for name, splits in {
        "usual": {"train": index, "val": index.select(np.array([1]))},
        "one empty": {"train": index, "val": empty},
        "no objects": {"test": empty},
        "many": {"train": many},
    }.items():
        file = tmp_path / "plots" / f"{name}.png"
        dataset_plots(splits, file)
        with Image.open(file) as page:
            assert page.size == (1560, 888)
            assert len(page.convert("RGB").getcolors(1 << 24) or []) > 20
    assert len(list((tmp_path / "plots").iterdir())) == 4


def test_without_matplotlib_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with caplog.at_level(logging.WARNING, "paa"):
        dataset_plots({"train": make_index(tmp_path, [(20, 30)])}, tmp_path / "stats.png")
    assert "stats.png is not drawn: matplotlib is not installed" in caplog.messages[0]
    assert not (tmp_path / "stats.png").exists()


def test_labels_do_not_touch() -> None:
    assert _legible((1, 2, 4, 8, 16), 1.5, 10) == [2, 4, 8]
    assert _legible((64, 96, 128, 192, 256), 1, 300) == [64, 128, 256]


def test_bins_of_whole_numbers() -> None:
    edges = _whole_edges(np.array([0, 3, 5]))
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    many = _whole_edges(np.array([2, 1000]))
    assert len(many) <= 66
    assert many[0] == 1.5
    assert many[-1] >= 1000.5
