"""Classes that differ between splits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from paa.data.index import DatasetIndex
from paa.inspection.classes import class_problems
from tests.data.data_files import make_index


def messages(**splits: DatasetIndex) -> list[str]:
    problems = list(class_problems(splits))
    assert all(problem.kind.name == "classes" for problem in problems)
    return [problem.message for problem in problems]


def test_equal_classes_are_no_problem(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(60, 80)] * 3)
    assert messages(train=index, val=index, test=index) == []


def test_what_differs_is_named(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(60, 80)] * 3)
    assert messages(train=index, val=replace(index, names=("b", "a", "c"))) == [
        "val has the classes of train in another order: b, a, c",
        "val has other ids than train for the same classes: a (1, 2), b (2, 1)",
    ]
    assert messages(train=index, val=index, test=replace(index, names=("a", "d", "c"))) == [
        "test has classes that train has not: d",
        "test lacks classes that train has: b",
    ]
    assert messages(train=index, val=replace(index, category_ids=np.array([1, 2, 7]))) == [
        "val has other ids than train for the same classes: c (3, 7)"
    ]


def test_a_class_that_is_only_evaluated(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(60, 80)] * 3)
    train = replace(index, labels=np.zeros_like(index.labels))
    assert messages(train=train, val=index) == ["val has objects of classes of which train has none: b, c"]
