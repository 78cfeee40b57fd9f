"""Counts of positives by size and level: against a plain loop, and as a run writes them."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import paa
from paa.assigners import ASSIGNERS, make_assigner
from paa.data.batch import Batch
from paa.runtime.distributed import Process
from paa.study.positives import EDGES, SIZES, PositiveCounter, count, read_positives
from paa.training.train import train
from tests.scenes import ANCHORS, LEVEL_SIZES, draw_scene
from tests.training.runs import Micro

SCENE = draw_scene(30, (5, 0, 9), 9)
SIZES_OF_IMAGES = torch.full((3, 2), 8)


@pytest.mark.parametrize("name", ASSIGNERS)
def test_counts_are_those_of_a_loop(name: str) -> None:
    outputs, boxes, labels = SCENE
    assignment = paa.assign(outputs, ANCHORS, boxes, labels, assigner=make_assigner(name))
    objects, without = [0] * len(SIZES), [0] * len(SIZES)
    positives = [[0] * len(LEVEL_SIZES) for _ in SIZES]
    starts = outputs.level_starts()
    for b in range(3):
        owners = assignment.objects(len(ANCHORS))[b]
        for g in range(9):
            if labels[b, g] < 0:
                continue
            x1, y1, x2, y2 = boxes[b, g].tolist()
            size = bisect_right(EDGES, math.sqrt((x2 - x1) * (y2 - y1)))
            objects[size] += 1
            without[size] += int((owners != g).all())
            for level, (first, last) in enumerate(pairwise(starts)):
                positives[size][level] += int((owners[first:last] == g).sum())
    found = [each.tolist() for each in count(assignment, outputs, boxes, labels)]
    assert found == [objects, without, positives]
    assert sum(objects) == 14


def test_lines_are_sums_between_records(tmp_path: Path) -> None:
    file = tmp_path / "positives.jsonl"
    counter = PositiveCounter(file)
    outputs, boxes, labels = SCENE
    batch = Batch(torch.zeros(3, 3, 8, 8), SIZES_OF_IMAGES, boxes, labels, torch.arange(3), SIZES_OF_IMAGES)
    assignment = paa.assign(outputs, ANCHORS, boxes, labels, assigner=make_assigner("atss"))
    for step in (1, 2, 3):
        counter.add(batch, outputs, assignment)
        if step > 1:
            counter.listen({"step": step, "loss": 1.0})
            counter.listen({"step": step, "AP": 0.5})
    two, one = read_positives(file)
    assert (two["step"], one["step"]) == (2, 3)
    for name in ("objects", "without"):
        assert two[name] == [2 * n for n in one[name]]
    assert two["positives"] == [[2 * n for n in row] for row in one["positives"]]


def test_only_what_is_trained_on_is_counted(tmp_path: Path, micro: Micro) -> None:
    """Not what a look at the assignment finds, of which the log has the Gaussians' separation, and no part twice."""
    lines = []
    for looks, parts in ((0, 1), (1, 1), (0, 2)):
        counter = PositiveCounter(tmp_path / f"{looks}-{parts}.jsonl")
        config = micro(tmp_path / f"run{looks}-{parts}", accumulate=parts, runtime={"assignment_interval": looks})
        log = train(config, Process(torch.device("cpu")), counter.listen, on_assignment=counter.add).log
        assert ("assignment_separation" in log.read_text()) == bool(looks)
        lines.append(read_positives(counter.file))
    assert lines[0] == lines[1] != []
    assert [line["objects"] for line in lines[2]] == [line["objects"] for line in lines[0]]


def test_a_step_that_was_repeated_counts_once(tmp_path: Path) -> None:
    file = tmp_path / "positives.jsonl"
    file.write_text('{"step": 4, "objects": [1]}\n{"step": 2, "objects": [2]}\n{"step": 4, "objects": [3]}\n{"step"')
    assert read_positives(file) == [{"step": 2, "objects": [2]}, {"step": 4, "objects": [3]}]
    assert read_positives(tmp_path / "nowhere") == []
