"""The accuracy benchmark trains and tests every detector alike, continues where it stopped, and its page is right."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))  # as for a script in that folder

import accuracy
import accuracy_report
import study
from accuracy import Cell, Terms, read_splits, run_cell
from accuracy_detectors import DETECTORS, STARTS, Start

from paa.data.batch import Batch
from paa.data.loader import eval_loader, train_loader
from paa.config import LoadingConfig, WorkerConfig
from paa.data.augment import TrainTransform
from paa.data.sampling import Sampling
from paa.data.transforms import Resize
from paa.runtime.distributed import Process

CPU = Process(torch.device("cpu"))
SMALL = Terms(size=64, channels=16, batch_size=2, evaluations=2)


@pytest.fixture
def data(shapes: Path, tmp_path: Path) -> Path:
    """A folder of data sets with one, whose splits are train and val."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "raccoon").symlink_to(shapes)
    return tmp_path / "data"


@pytest.fixture
def batch(data: Path) -> Batch:
    train, _ = read_splits(data / "raccoon", development=False)
    loader = eval_loader(train, Resize(64, 106), CPU, LoadingConfig(workers=0, batch_size=2))
    return next(iter(loader))


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_detectors_boxes_are_in_the_original_images_pixels(detector: str, batch: Batch) -> None:
    """Trained on one batch until it knows it, every detector finds the objects where they are."""
    torch.manual_seed(0)
    contender = DETECTORS[detector](STARTS["random"](), tuple("abcd"), 16).train()
    optimizer = torch.optim.AdamW(contender.parameters(), lr=2e-3)
    for _ in range(60):
        optimizer.zero_grad()
        contender.losses(batch).backward()
        optimizer.step()
    found = contender.eval().detect(batch)
    ratio = (batch.original_sizes / batch.sizes).flip(1).repeat(1, 2)
    best = []
    for (boxes, scores, _), truth, labels, scale in zip(found, batch.gt_boxes, batch.gt_labels, ratio):
        truth = truth[labels >= 0] * scale
        corner = torch.maximum(truth[:, None, :2], boxes[:, :2]), torch.minimum(truth[:, None, 2:], boxes[:, 2:])
        common = (corner[1] - corner[0]).clamp(min=0).prod(-1)
        area = [(each[:, 2:] - each[:, :2]).prod(1) for each in (truth, boxes)]
        best += (common / (area[0][:, None] + area[1] - common)).amax(1).tolist() if len(boxes) else [0.0] * len(truth)
    assert np.median(best) > 0.4
