"""The benchmarks behind docs/elsewhere.md train what they say, and the page's tables are those of their lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))  # as for a script in that folder

import distillation
import elsewhere
from accuracy import Terms, read_splits
from accuracy_detectors import STARTS
from paa.config import LoadingConfig
from paa.data.batch import Batch
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader
from paa.data.transforms import Resize
from paa.runtime.distributed import Process

DOCS = Path(__file__).parents[1] / "docs"
SMALL = Terms(size=64, channels=32, batch_size=2, evaluations=1)


@pytest.fixture
def index(shapes: Path) -> DatasetIndex:
    return read_splits(shapes, development=True)[0]


@pytest.fixture
def batch(index: DatasetIndex) -> Batch:
    loading = LoadingConfig(workers=0, batch_size=2)
    return next(iter(eval_loader(index, Resize(64, 106), Process(torch.device("cpu")), loading)))


@pytest.mark.parametrize("detector", elsewhere.DETECTORS)
def test_each_detector_has_its_own_losses_or_paas(detector: str, index: DatasetIndex, batch: Batch) -> None:
    torch.manual_seed(0)
    contender = elsewhere.DETECTORS[detector](STARTS["random"](), index, SMALL).train()
    loss = contender.losses(batch)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in contender.parameters())
    kinds = {type(module).__name__ for module in contender.modules()}
    assert detector.endswith("PAA") == bool(kinds & {"PaaRetinaNet", "PaaFCOS", "PaaProposalNetwork"})


def test_a_taught_students_assignment_is_its_teachers(index: DatasetIndex, batch: Batch) -> None:
    start = STARTS["random"]()
    torch.manual_seed(1)
    teacher = distillation.Teacher(
        distillation.make_ours(start, index, SMALL).detector.eval(), distillation.PaaAssigner(), "float32"
    )
    student = distillation.make_taught(teacher, start, index, SMALL)
    student.losses(batch).backward()
    wanted, given = teacher.assign(batch).assignment, student.assigner.assignment
    assert wanted.num_positives.sum() > 0
    assert torch.equal(given.objects(2000), wanted.objects(2000))


def lines(name: str) -> list[dict[str, object]]:
    files = (DOCS / "accuracy.jsonl", DOCS / name)
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_the_pages_tables_are_those_of_the_lines() -> None:
    page = (DOCS / "elsewhere.md").read_text()
    for made in (elsewhere.table(lines("elsewhere.jsonl")), distillation.table(lines("distillation.jsonl"))):
        assert made.count("\n") > 2
        assert made in page
