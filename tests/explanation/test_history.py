"""The records of a run's assignment: what is written is read again, also after the run was killed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from paa.errors import RunError
from paa.explanation.history import History, Watched
from paa.explanation.plain import from_plain, to_plain
from tests.explanation.objects import LEVELS, make_object

WATCHED = [Watched("a.jpg", 7, "star"), Watched("b.jpg", 9, "circle")]


@pytest.fixture
def history(tmp_path: Path) -> History:
    history = History(tmp_path)
    history.begin(WATCHED, LEVELS, [np.zeros((20, 30, 3), np.uint8)] * 2)
    for step in (0, 20, 40):
        history.append(step, [make_object(2, 9, seed=step), make_object(0, 0)])
        history.picture(step).write_bytes(b"jpeg")
    return history


def test_numbers_and_back() -> None:
    one = make_object(4, 20)
    plain = json.loads(json.dumps(to_plain(one)))
    again = from_plain(plain, LEVELS)
    assert to_plain(again) == plain
    np.testing.assert_allclose(again.candidates.anchors, one.candidates.anchors, atol=0.06)
    assert again.mixture == one.mixture


def test_what_is_written_is_read(history: History) -> None:
    watched, moments = history.read()
    assert watched == WATCHED
    assert [step for step, _ in moments] == history.steps() == [0, 20, 40]
    assert [one.positives for one in moments[1][1]] == [2, 0]


def test_a_resumed_run_forgets_what_it_does_again(history: History) -> None:
    with history.lines.open("a") as file:
        file.write('{"step": 60, "obj')  # the power was cut
    (history.path / "1.jpg.123-abcdef01.tmp").touch()
    history.forget_after(20)
    assert history.steps() == [0, 20]
    assert sorted(path.name for path in history.path.iterdir()) == [
        "1.jpg", "2.jpg", "history.jsonl", "objects.json", "step_000000.jpg", "step_000020.jpg"
    ]  # fmt: skip
    history.append(40, [make_object(), make_object()])
    assert history.steps() == [0, 20, 40]


def test_a_history_of_other_images_is_kept_beside(history: History) -> None:
    for number in (1, 2):
        aside = history.restart()
        assert aside == history.path.with_name(f"assignment-before-{number}")
        assert aside is not None
        assert (aside / "objects.json").exists()
        assert history.steps() == []
        history.begin(WATCHED, LEVELS, [np.zeros((20, 30, 3), np.uint8)] * 2)
        history.append(0, [make_object(2, 9), make_object(0, 0)])
    assert History(history.path.parent / "another").restart() is None


def test_a_folder_without_records(tmp_path: Path) -> None:
    History(tmp_path).forget_after(3)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RunError, match=r"recorded no assignment .*--assignment-interval"):
        History(tmp_path).read()


@pytest.mark.parametrize("text", ["[]", '{"levels": [], "objects": [{}]}', "{", '{"levels": 3, "objects": []}'])
def test_other_files(history: History, text: str) -> None:
    history.objects.write_text(text)
    with pytest.raises(RunError, match="not those that a training run writes"):
        history.read()


@pytest.mark.parametrize("change", [{"box": [1]}, {"candidates": None}, {"mixture": {}}, {"resized_size": [1]}])
def test_other_numbers(history: History, change: dict[str, object]) -> None:
    record = {"step": 60, "objects": [{**to_plain(make_object()), **change}] * 2}
    history.lines.write_text(json.dumps(record) + "\n")
    with pytest.raises(RunError, match="not those that a training run writes"):
        history.read()


def test_no_complete_line(history: History) -> None:
    history.lines.write_text("{\n")
    with pytest.raises(RunError, match="no step is recorded"):
        history.read()
