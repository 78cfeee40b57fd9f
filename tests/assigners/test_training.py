"""Training by each rule: by its name, which the recipe of the run keeps."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paa
from paa.assigners import ASSIGNERS, AtssAssigner, CentreSamplingAssigner, make_assigner, text_of
from paa.commands.main import parse, program
from paa.commands.train import Train
from paa.core import Assigner, PaaAssigner
from paa.errors import ConfigError
from paa.recipes import find_recipe
from paa.training.train import train
from tests.assigners.rules import assign
from tests.scenes import draw_scene
from tests.training.runs import CPU, Micro, read_log


@pytest.mark.parametrize("name", ASSIGNERS)
def test_four_steps(tmp_path: Path, micro: Micro, name: str) -> None:
    config = micro(tmp_path / "run")
    result = train(replace(config, recipe=replace(config.recipe, assigner=name)), CPU)
    records = read_log(result.log)
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    for record in records:
        assert record["positives"] > 0
        assert all(math.isfinite(record[f"loss_{part}"]) for part in ("classification", "box", "iou"))
    assert find_recipe(str(tmp_path / "run" / "recipe.json")).assigner == name


def test_the_option_and_the_argument(tmp_path: Path, shapes: Path) -> None:
    command = parse(["train", "--data", "x", "--recipe", "r18_nano", "--assigner", "one-to-one"])
    assert isinstance(command, Train)
    assert command._config().recipe.assigner == "one-to-one"
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps({"assigner": "atss"}))
    again = parse(["train", "--data", "x", "--recipe", str(file)])
    assert isinstance(again, Train)
    assert again._config().recipe.assigner == "atss"
    with pytest.raises(ConfigError, match="unknown assigner 'hungry'"):
        paa.train(shapes, "r18_nano", assigner="hungry", output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_name_is_refused_before_anything_is_read(tmp_path: Path, micro: Micro) -> None:
    config = micro(tmp_path / "run", data={"path": tmp_path / "nowhere"})
    with pytest.raises(ConfigError, match="unknown assigner 'hungry'; known: paa, highest-iou, "):
        train(replace(config, recipe=replace(config.recipe, assigner="hungry")), CPU)


def test_a_run_is_resumed_by_its_own_rule(tmp_path: Path, micro: Micro) -> None:
    config = micro(tmp_path / "run", schedule={"steps": 1})
    atss = replace(config.recipe, assigner="atss")
    train(replace(config, recipe=atss), CPU)
    with pytest.raises(ConfigError, match="its run had assigner atss, not paa"):
        train(replace(config, resume="last"), CPU)


RULES = """
import torch
from dataclasses import dataclass
from paa.core import Assignment, candidates_per_object, match

def lowest_cost(outputs, anchors, gt_boxes, gt_labels, cost, most=9):
    matches = match(anchors, gt_boxes, gt_labels)
    chosen, scores, count = candidates_per_object(cost(matches), matches, gt_labels.shape[1], outputs.level_starts())
    return Assignment(chosen, scores, count, count.clamp(max=most))

@dataclass(frozen=True)
class Lowest:
    most: int = 9

    def __call__(self, *given):
        return lowest_cost(*given, most=self.most)

def twice(outputs, anchors, gt_boxes, gt_labels, cost):
    one = lowest_cost(outputs, anchors, gt_boxes, gt_labels, cost)
    return one._replace(anchors=one.anchors * 0 + 7)

def ignoring(outputs, anchors, gt_boxes, gt_labels, cost):
    one = lowest_cost(outputs, anchors, gt_boxes, gt_labels, cost)
    return one._replace(ignored=match(anchors, gt_boxes, gt_labels) >= 0)

def wrong(outputs, anchors, gt_boxes, gt_labels, cost):
    return None

def weighed(outputs, anchors, gt_boxes, gt_labels, cost, weight=-1.0):
    one = lowest_cost(outputs, anchors, gt_boxes, gt_labels, cost)
    return one._replace(weights=one.scores * 0 + float(weight))

def without_scores(outputs, anchors, gt_boxes, gt_labels, cost):
    one = lowest_cost(outputs, anchors, gt_boxes, gt_labels, cost)
    return one._replace(scores=one.scores * float("nan"))

def infinite(outputs, anchors, gt_boxes, gt_labels, cost):
    one = lowest_cost(outputs, anchors, gt_boxes, gt_labels, cost)
    return one._replace(scores=one.scores + float("inf"))

def quality(outputs, anchors, gt_boxes, gt_labels, cost):
    one = lowest_cost(outputs, anchors, gt_boxes, gt_labels, cost)
    return one._replace(scores=-one.scores)

def each_object_alone(outputs, anchors, gt_boxes, gt_labels, cost):
    probability = outputs.cls_logits.gather(2, gt_labels.clamp(min=0)[:, None].expand(-1, len(anchors), -1))
    scores, chosen = probability.transpose(1, 2).topk(9)
    count = torch.full_like(gt_labels, 9).where(gt_labels >= 0, 0)
    return Assignment(chosen, -scores, count, count)

def one_score(outputs, anchors, gt_boxes, gt_labels, cost):
    one = lowest_cost(outputs, anchors, gt_boxes, gt_labels, cost)
    return one._replace(scores=one.scores[..., :1])

def halves(outputs, anchors, gt_boxes, gt_labels, cost):
    one = lowest_cost(outputs, anchors, gt_boxes, gt_labels, cost)
    return one._replace(num_candidates=one.num_candidates / 2)

def more_than_candidates(outputs, anchors, gt_boxes, gt_labels, cost):
    one = lowest_cost(outputs, anchors, gt_boxes, gt_labels, cost)
    return one._replace(num_positives=one.num_candidates + 1)

def late_error(outputs, anchors, gt_boxes, gt_labels, cost):
    if len(anchors) < 1000:  # not on the image on which rules are tried
        raise KeyError("a fault of its own")
    return lowest_cost(outputs, anchors, gt_boxes, gt_labels, cost)

def late_nothing(outputs, anchors, gt_boxes, gt_labels, cost):
    return lowest_cost(outputs, anchors, gt_boxes, gt_labels, cost) if len(anchors) >= 1000 else None

number = 3
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Return a file with rules of a person's own."""
    file = tmp_path / "my rules (1).py"
    file.write_text(RULES)
    return file


@pytest.mark.parametrize(
    ("text", "most"), [("lowest_cost", 9), ("lowest_cost(most=2)", 2), ("Lowest", 9), ("Lowest(most=3)", 3)]
)
def test_a_rule_of_ones_own(rules: Path, text: str, most: int) -> None:
    assignment = assign(make_assigner(f"{rules}:{text}"), draw_scene(30, (5, 2, 9), 9))
    assert assignment.num_positives.max() == most


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nothing", "AttributeError: .*has no attribute 'nothing'"),
        ("number", "is a int, which cannot be called"),
        ("Lowest(least=3)", "TypeError: .*'least'"),
        ("lowest_cost(least=3)", "on a small image TypeError: .*'least'"),
        ("twice", "an anchor is positive twice"),
        ("ignoring", "an anchor is positive and ignored"),
        ("wrong", "the assigner returned NoneType"),
        ("weighed", "the weight of a positive anchor is negative, infinite or NaN"),
        ("weighed(weight='nan')", "the weight of a positive anchor is negative, infinite or NaN"),
        ("without_scores", "a candidate's score is infinite or NaN"),
        ("infinite", "a candidate's score is infinite or NaN"),
        ("quality", "candidates are not in the order of their scores, of which the lowest is the best"),
        ("each_object_alone", "an anchor is positive twice"),
        ("one_score", "the assigner returned scores .* expected the shapes of anchors"),
        ("halves", r"the assigner returned num_candidates of torch\.float32; expected torch\.int64"),
        ("more_than_candidates", "num_positives is not from 0 to num_candidates"),
    ],
)
def test_what_is_wrong_with_ones_own_rule_is_said_first(rules: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"assigner .*:.*{says}"):
        make_assigner(f"{rules}:{text}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("atss(per_level=2.5)", "per_level cannot be 2.5: Expected `int`"),
        ("atss(radius=2)", "atss has no parameter 'radius'; known: per_level"),
        ("atss(per_level=0)", "per_level must be at least 1, not 0"),
        ("paa(match_iou=-0.1)", "match_iou must be finite and not negative, not -0.1"),
        ("task-aligned(beta=1e999)", "beta must be finite and not negative, not inf"),
        ("centre-sampling(reach=(4, -8))", r"reach must be finite and not negative, not \(4, -8\)"),
        ("atss(5)", "expected a name with parameters"),
        ("atss(per_level=open('x'))", "expected a name with parameters"),
        ("atss(per_level=1", "expected a name with parameters"),
        ("atss(per_level=3)(per_level=5)", "expected a name with parameters"),
        ("atss(per_level=3, per_level=5)", "expected a name with parameters"),
        ("atss(per_level={[]: 1})", "expected a name with parameters"),
        ("atss(**{'a': 1})", "atss has no parameter"),
        ("nowhere.py:rule", "FileNotFoundError"),
        ("no_such_module:rule", "ModuleNotFoundError"),
        (":", "ValueError"),
    ],
)
def test_texts_that_are_no_rules(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"assigner .*{says}"):
        make_assigner(text)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (AtssAssigner(), "atss"),
        (AtssAssigner(per_level=5), "atss(per_level=5)"),
        (CentreSamplingAssigner(reach=(3.0, 9.0)), "centre-sampling(reach=(3.0, 9.0))"),
        (PaaAssigner(match_iou=0.2, per_level=3), "paa(match_iou=0.2, per_level=3)"),
    ],
)
def test_the_text_of_a_rule_makes_it_again(rule: Assigner, text: str) -> None:
    assert text_of(rule) == text
    assert make_assigner(text) == rule


def lowest_cost(outputs: Any, anchors: Any, gt_boxes: Any, gt_labels: Any, cost: Any, most: int = 9) -> Any:
    return PaaAssigner(per_level=most)(outputs, anchors, gt_boxes, gt_labels, cost)


@dataclass(frozen=True)
class WithArray:
    """A rule whose parameter is an array, which is neither equal nor unequal to another."""

    sizes: Any = None

    def __call__(self, *given: Any) -> Any:
        """Return PAA's assignment."""
        return PaaAssigner()(*given)


def test_the_text_of_a_rule_has_all_that_it_depends_on() -> None:
    module = "tests.assigners.test_training"
    assert text_of(partial(lowest_cost, most=3)) == f"{module}:lowest_cost(most=3)"
    assert text_of(partial(WithArray())) == f"{module}:WithArray"
    assert text_of(partial(lowest_cost, most=9)) != text_of(partial(lowest_cost, most=1))
    assert text_of(WithArray(np.array([1, 2]))) == f"{module}:WithArray(sizes=array([1, 2]))"
    assert text_of(WithArray()) == f"{module}:WithArray"
    assert assign(make_assigner(f"{module}:lowest_cost(most=1)"), draw_scene(30, (5,), 9)).num_candidates.max() <= 5


def test_a_rule_as_a_value(tmp_path: Path, shapes: Path) -> None:
    """As in a notebook: the rule is used, and its name is kept."""
    calls = []

    def own(*given: Any) -> Any:
        calls.append(1)
        return PaaAssigner()(*given)

    small: dict[str, Any] = {
        "model": {"channels": 16, "min_size": 64, "max_size": 96},
        "device": "cpu",
        "batch_size": 2,
    }
    small |= {
        "augment": {"min_sizes": [64], "max_size": 96},
        "runtime": {"workers": 0},
        "validation": {"batch_size": 0},
    }
    paa.train(shapes, "r18_nano", assigner=own, steps=2, output=tmp_path / "run", **small)
    assert len(calls) == 3  # tried on a small image first
    kept = find_recipe(str(tmp_path / "run" / "recipe.json")).assigner
    assert kept == "tests.assigners.test_training:test_a_rule_as_a_value.<locals>.own"


def test_a_recipe_does_not_decide_which_code_runs(tmp_path: Path, micro: Micro, rules: Path) -> None:
    rules.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{RULES}")
    config = micro(tmp_path / "run")
    recipe = replace(config.recipe, assigner=f"{rules}:lowest_cost")
    with pytest.raises(ConfigError, match="is code that would be run: if you trust it, name it yourself"):
        train(replace(config, recipe=recipe), CPU)
    assert not (tmp_path / "ran").exists()
    train(replace(config, recipe=recipe, named=(*config.named, "assigner")), CPU)
    assert (tmp_path / "ran").exists()
    assert (tmp_path / "run" / "last.pt").exists()


def test_ones_own_rule_is_tried_with_the_levels_of_the_model(tmp_path: Path, micro: Micro, rules: Path) -> None:
    text = """
def five_levels(outputs, anchors, gt_boxes, gt_labels, cost):
    p3, p4, p5, p6, p7 = outputs.level_sizes
    return lowest_cost(outputs, anchors, gt_boxes, gt_labels, cost)
"""
    rules.write_text(RULES + text)
    for level in (3, 2):
        config = micro(tmp_path / f"P{level}", model={"first_level": level})
        recipe = replace(config.recipe, assigner=f"{rules}:five_levels")
        config = replace(config, recipe=recipe, named=(*config.named, "assigner"))
        if level == 3:
            train(config, CPU)
            continue
        with pytest.raises(ConfigError, match=r"five_levels: on a small image ValueError: too many values to unpack"):
            train(config, CPU)
        assert not (tmp_path / "P2" / "config.json").exists()


def test_a_run_of_auto_is_resumed_by_its_own_rule(tmp_path: Path, micro: Micro) -> None:
    config = micro(tmp_path / "run", schedule={"steps": 1})
    auto = replace(
        config, auto=True, named=(*config.named, "assigner", "model.backbone", "schedule.steps", "batch_size")
    )
    train(replace(auto, recipe=replace(config.recipe, assigner="atss")), CPU)
    for recipe, named in ((config.recipe, config.named), (replace(config.recipe, assigner="atss"), auto.named)):
        train(replace(auto, recipe=recipe, named=named, resume="last"), CPU)
    with pytest.raises(ConfigError, match="its run had assigner atss, not paa"):
        train(replace(auto, resume="last"), CPU)


def test_a_rule_as_a_value_is_tried_first(tmp_path: Path, shapes: Path) -> None:
    def twice(*given: Any) -> Any:
        one = PaaAssigner()(*given)
        return one._replace(anchors=one.anchors * 0 + 7)

    for rule, says in (
        (twice, "twice: on a small image an anchor is positive twice"),
        (lambda *given: None, "on a small image AssignmentError: the assigner returned NoneType"),
        (PaaAssigner, r"got a class: PaaAssigner\(\) makes a rule of it"),
    ):
        with pytest.raises(ConfigError, match=says):
            paa.train(shapes, "r18_nano", assigner=rule, steps=1, device="cpu", output=tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("late_error", "my rules (1).py failed; the lines above say where"),
        ("late_nothing", "the assigner returned NoneType; expected a paa.core.Assignment"),
    ],
)
def test_a_rule_that_fails_later_is_not_a_fault_of_paa(
    tmp_path: Path,
    shapes: Path,
    options: list[str],
    rules: Path,
    rule: str,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["train", "--data", shapes, *options, "--assigner", f"{rules}:{rule}", "--output", tmp_path / "run"]
    monkeypatch.setattr(sys, "argv", ["paa", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        program()
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].endswith(says)
    assert ("Traceback" in error) == (rule == "late_error")
