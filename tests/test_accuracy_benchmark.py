"""The accuracy benchmark trains and tests every detector alike, continues where it stopped, and its page is right."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))  # as for a script in that folder

import accuracy
import accuracy_report
import study
import training_curves
from accuracy import Cell, Terms, read_splits
from accuracy_detectors import DETECTORS, STARTS
from paa.config import LoadingConfig
from paa.data.batch import Batch
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader
from paa.data.transforms import Resize
from paa.runtime.distributed import Process
from sparse_roi_align import SparseRoIAlign

CPU = Process(torch.device("cpu"))
SMALL = Terms(size=64, channels=32, batch_size=2, evaluations=2)


@pytest.fixture
def data(shapes: Path, tmp_path: Path) -> Path:
    """A folder of data sets with one, whose splits are train and val."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "raccoon").symlink_to(shapes)
    return tmp_path / "data"


@pytest.fixture
def index(data: Path) -> DatasetIndex:
    return read_splits(data / "raccoon", development=False)[0]


@pytest.fixture
def batch(index: DatasetIndex) -> Batch:
    loader = eval_loader(index, Resize(64, 106), CPU, LoadingConfig(workers=0, batch_size=2))
    return next(iter(loader))


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_detectors_boxes_are_in_the_original_images_pixels(detector: str, index: DatasetIndex, batch: Batch) -> None:
    """Trained on one batch until it knows it, every detector finds the objects where they are."""
    torch.manual_seed(0)
    contender = DETECTORS[detector](STARTS["random"](), index, SMALL).train()
    optimizer = torch.optim.AdamW(contender.parameters(), lr=2e-3)
    for _ in range(60):
        optimizer.zero_grad()
        contender.losses(batch).backward()
        optimizer.step()
    found = contender.eval().detect(batch)
    ratio = (batch.original_sizes / batch.sizes).flip(1).repeat(1, 2)
    best = []
    for (boxes, _, _), truth, labels, scale in zip(found, batch.gt_boxes, batch.gt_labels, ratio):
        truth = truth[labels >= 0] * scale
        corner = torch.maximum(truth[:, None, :2], boxes[:, :2]), torch.minimum(truth[:, None, 2:], boxes[:, 2:])
        common = (corner[1] - corner[0]).clamp(min=0).prod(-1)
        area = [(each[:, 2:] - each[:, :2]).prod(1) for each in (truth, boxes)]
        best += (common / (area[0][:, None] + area[1] - common)).amax(1).tolist() if len(boxes) else [0.0] * len(truth)
    assert np.median(best) > 0.4


def test_boxes_are_pooled_as_by_torchvision() -> None:
    """Values and gradients, for boxes of every level, without a size, at the border and outside of the image."""
    torch.manual_seed(0)
    levels = {str(i): torch.randn(2, 5, 64 // 2**i, 48 // 2**i, requires_grad=True) for i in range(4)}
    sides = torch.logspace(0, 2.7, 40)[:, None] * torch.tensor([1.0, 0.8])
    centres = torch.rand(40, 2) * torch.tensor([192.0, 256.0])
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], 1)
    boxes = torch.cat([boxes, torch.tensor([[0.0, 0, 192, 256], [8, 8, 8, 8], [180, 250, 200, 270]])])
    given = (levels, [boxes, boxes.flip(0)[:30]], [(256, 192), (240, 180)])
    pools = MultiScaleRoIAlign(list(levels), 7, 2), SparseRoIAlign(list(levels), 7, (4, 8, 16, 32))
    assert set(pools[1].mapper(given[1]).tolist()) == {0, 1, 2, 3}
    theirs, ours = (pool(*given) for pool in pools)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    weights = torch.randn(theirs.shape)
    gradients = [torch.autograd.grad((each * weights).sum(), list(levels.values())) for each in (theirs, ours)]
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-4, rtol=1e-4)


def made_up(detector: str, seed: int, ap: float, **more: Any) -> dict[str, Any]:
    line = {"data": "raccoon", "detector": detector, "start": "random", "epochs": 12, "seed": seed, "AP": ap}
    line |= {"AP50": 2 * ap, "AP75": ap / 2, "development": False, "seconds": 1800, "threads": 1, "commit": "abc"}
    curve = [{"step": 5, "AP": ap / 2}, {"step": 10, "AP": ap}]
    return line | {"machine": {"cpu": "Some CPU"}, "curve": curve} | more


def test_what_is_in_the_file_is_not_run_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "accuracy.jsonl"
    file.write_text(json.dumps(made_up("FCOS", 0, 30.0)) + "\n")
    monkeypatch.setattr(accuracy, "TERMS", {"random": SMALL})
    asked = f"--data {data} --sets raccoon --detectors PAA FCOS --starts random --epochs 12 --seeds 0 --output {file}"
    monkeypatch.setattr(sys, "argv", ["accuracy.py", *asked.split()])
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)  # it would hold for the tests after
    accuracy.main()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["detector"] for line in lines] == ["FCOS", "PAA"]
    ours = lines[1]
    assert [point["step"] for point in ours["curve"]][-1] == ours["steps"] == 12 * ours["images"][0] // 2
    assert ours["AP"] == ours["curve"][-1]["AP"]  # the last step's, whichever was best
    assert set(accuracy.NUMBERS) <= set(ours)
    capsys.readouterr()
    accuracy.main()
    assert file.read_text().count("\n") == 2
    assert capsys.readouterr().out == ""


def test_development_holds_out_training_images_only(data: Path) -> None:
    train, test = read_splits(data / "raccoon", development=False)
    part, held_out = read_splits(data / "raccoon", development=True)
    names = [{index.path(i).name for i in range(len(index))} for index in (train, test, part, held_out)]
    assert names[2] | names[3] == names[0]
    assert not names[2] & names[3]
    assert not names[3] & names[1]


def test_the_page_has_means_and_extremes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy_report, "DOCS", tmp_path)
    (tmp_path / "images").mkdir()
    lines = [made_up("PAA", seed, ap) for seed, ap in enumerate((40.0, 44.0, 45.0))] + [made_up("FCOS", 0, 38.0)]
    file = tmp_path / "accuracy.jsonl"
    development = made_up("FCOS", 1, 99.0, development=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in [*lines, development]))
    accuracy_report.main()
    page = (tmp_path / "accuracy.md").read_text()
    assert "| PAA | 43.0 (40.0 to 45.0) | 43.0 |" in page
    assert "| FCOS | 38.0 (one seed) | 38.0 |" in page
    assert "99.0" not in page
    assert (tmp_path / "images" / "accuracy-random-12.png").exists()


def test_a_study_runs_each_variant_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "study.jsonl"
    monkeypatch.setattr(study, "TERMS", {"random": SMALL})
    asked = f"--data {data} --sets raccoon --starts random --epochs 1 --seeds 0 --output {file} --variants"
    monkeypatch.setattr(sys, "argv", ["study.py", *asked.split(), "base", "warm-up 0"])
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    study.main()
    study.main()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["variant"], line["terms"]["warmup_steps"]) for line in lines] == [("base", 100), ("warm-up 0", 0)]
    assert accuracy.has_line(file, **asdict(Cell("raccoon", "PAA", "random", 1, 0)), variant="base")
    assert set(lines[0]["without"]) == {"voting", "IoU prediction", "both"}
    assert "| warm-up 0 |" in study.tables(lines)
    assert "| voting |" in study.claims(lines)


def test_parts_are_off_only_inside_their_context(index: DatasetIndex, batch: Batch) -> None:
    torch.manual_seed(0)
    ours = DETECTORS["PAA"](STARTS["random"](), index, SMALL).eval()
    torch.nn.init.zeros_(ours.detector.head.cls_logits.bias)  # so that there are detections
    before = ours.detect(batch)
    for name, part_off in study.WITHOUT.items():
        with part_off(ours):
            inside = ours.detect(batch)
        if name != "voting":
            assert not torch.equal(inside[0][1], before[0][1])
        for (boxes, scores, _), again in zip(before, ours.detect(batch)):
            assert torch.equal(boxes, again[0])
            assert torch.equal(scores, again[1])


def test_curves_of_runs(
    data: Path, index: DatasetIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    config = {"data": {"path": str(data / "raccoon"), "train_split": "train"}, "batch_size": len(index)}
    (run / "config.json").write_text(json.dumps(config))
    objects = len(index.boxes)
    records = [{"step": step, "positives": objects * (2 if step < 60 else 3)} for step in range(10, 110, 10)]
    records += [{"step": 50, "AP": 0.25}, {"step": 100, "AP": 0.5}]
    (run / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    monkeypatch.setattr(sys, "argv", ["training_curves.py", str(run), "--output", str(tmp_path / "curves.png")])
    training_curves.main()
    assert capsys.readouterr().out == "raccoon: AP 25.0 50.0; positives of an object 2.0 at first, 3.0 at last\n"
    assert (tmp_path / "curves.png").stat().st_size > 0
