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
from paa.runtime.distributed import Process
from paa.study.positives import EDGES, SIZES, CountedAssigner, count, read_positives
from paa.training.train import train
from tests.scenes import ANCHORS, LEVEL_SIZES, draw_scene
from tests.training.runs import Micro

SCENE = draw_scene(30, (5, 0, 9), 9)


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
    counted = CountedAssigner(make_assigner("atss"), file)
    outputs, boxes, labels = SCENE
    for step in (1, 2, 3):
        paa.assign(outputs, ANCHORS, boxes, labels, assigner=counted)
        if step > 1:
            counted.listen({"step": step, "loss": 1.0})
            counted.listen({"step": step, "AP": 0.5})
    two, one = read_positives(file)
    assert (two["step"], one["step"]) == (2, 3)
    for name in ("objects", "without"):
        assert two[name] == [2 * n for n in one[name]]
    assert two["positives"] == [[2 * n for n in row] for row in one["positives"]]


def test_looks_at_the_assignment_are_not_counted(tmp_path: Path, micro: Micro) -> None:
    """They are made by the rule itself, of which the log has the Gaussians' separation."""
    lines = []
    for interval in (0, 1):
        counted = CountedAssigner(make_assigner("paa"), tmp_path / f"{interval}.jsonl")
        config = micro(tmp_path / f"run{interval}", runtime={"assignment_interval": interval})
        log = train(config, Process(torch.device("cpu")), counted.listen, assigner=counted).log
        assert ("assignment_separation" in log.read_text()) == bool(interval)
        lines.append(read_positives(counted.file))
    assert lines[0] == lines[1] != []


def test_a_step_that_was_repeated_counts_once(tmp_path: Path) -> None:
    file = tmp_path / "positives.jsonl"
    file.write_text('{"step": 4, "objects": [1]}\n{"step": 2, "objects": [2]}\n{"step": 4, "objects": [3]}\n{"step"')
    assert read_positives(file) == [{"step": 2, "objects": [2]}, {"step": 4, "objects": [3]}]
    assert read_positives(tmp_path / "nowhere") == []
