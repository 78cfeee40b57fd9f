from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paa.data.classes import match_classes, same_classes
from paa.data.read_report import ReadReport
from paa.errors import DataError
from tests.data.data_files import make_index

SOURCE = Path("train.json")


def test_the_order_of_the_files_without_wanted_names() -> None:
    classes = match_classes(SOURCE, ["dog", "cat"], [7, 3], None, ReadReport())
    assert classes.names == ("dog", "cat")
    assert classes.category_ids.tolist() == [7, 3]
    assert classes.mapping.tolist() == [0, 1]


def test_the_order_of_the_wanted_names() -> None:
    classes = match_classes(SOURCE, ["dog", "cat"], [7, 3], ["cat", "cow", "dog"], ReadReport())
    assert classes.names == ("cat", "cow", "dog")
    assert classes.mapping.tolist() == [2, 0]
    assert classes.category_ids[[0, 2]].tolist() == [3, 7]
    assert classes.category_ids[1] not in (3, 7)


def test_a_class_that_is_not_wanted() -> None:
    with pytest.raises(DataError, match=r"train\.json: class 'dog' is unknown to the model, which knows cat; .*--skip"):
        match_classes(SOURCE, ["dog", "cat"], [7, 3], ["cat"], ReadReport())
    report = ReadReport(skip_bad=True)
    classes = match_classes(SOURCE, ["dog", "cat"], [7, 3], ["cat"], report)
    assert classes.mapping.tolist() == [-1, 0]
    assert classes.category_ids.tolist() == [3]
    assert len(report.left_out) == 1


@pytest.mark.parametrize("skip_bad", [False, True])
def test_no_class_that_is_wanted(skip_bad: bool) -> None:
    message = (
        "all classes, Cat, are unknown to the model, which knows cat"
        if skip_bad
        else (
            r"class 'Cat' is unknown to the model, which knows cat \('cat' differs in capitals or blanks only\); fix it"
        )
    )
    with pytest.raises(DataError, match=f"train.json: {message}"):
        match_classes(SOURCE, ["Cat"], [7], ["cat"], ReadReport(skip_bad))
    assert match_classes(SOURCE, [], [], ["cat"], ReadReport()).names == ("cat",)  # a data set without objects


def test_unused_ids_where_int64_ends() -> None:
    last = np.iinfo(np.int64).max
    classes = match_classes(SOURCE, ["a", "b"], [int(last), 1], ["c", "a", "d", "b"], ReadReport())
    assert classes.category_ids[[1, 3]].tolist() == [last, 1]
    assert len(set(classes.category_ids.tolist())) == 4


def test_names_that_two_classes_have() -> None:
    with pytest.raises(DataError, match=r"train\.json: two classes are named 'cat'"):
        match_classes(SOURCE, ["cat", "dog", "cat"], [1, 2, 3], None, ReadReport())


@pytest.mark.parametrize(("other", "how"), [("Cat", "capitals"), (" cat", "blanks"), ("cats", None)])
def test_names_that_differ_in_little(other: str, how: str | None) -> None:
    report = ReadReport()
    match_classes(SOURCE, ["cat", other], [1, 2], None, report)
    warning = f"train.json: the classes 'cat' and {other!r} differ in {how} only; are they the same?"
    assert report.warnings == ([warning] if how else [])


def test_the_same_classes_for_several_indexes(tmp_path: Path) -> None:
    first = make_index(tmp_path, [(20, 30)] * 3)
    assert same_classes([]) == []
    other = replace(first, names=("c", "d", "a"), category_ids=np.array([3, 2, 9]))
    one, two = same_classes([first, other])
    assert one.names == two.names == ("a", "b", "c", "d")
    assert one.category_ids.tolist() == two.category_ids.tolist() == [1, 2, 3, 4]  # 2 is b's already
    assert one.labels.tolist() == first.labels.tolist()
    named = [other.names[label] for label in other.labels]
    assert [two.names[label] for label in two.labels] == named
    alone = same_classes([first])[0]
    assert alone.names == first.names
    assert alone.category_ids.tolist() == first.category_ids.tolist()
