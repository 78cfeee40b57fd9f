"""The model card of a run: the hub's metadata, and what the run did, without paths of this machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

import paa
from paa.config import AugmentConfig, CardConfig, ModelConfig, Recipe, TrainTilesConfig
from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.evaluation.thresholds import read_thresholds
from paa.predictor import PAA
from paa.training.card import CardFacts, model_card
from paa.training.records import Record
from paa.training.train import train
from tests.training.runs import CPU, KilledError, Micro, kill_at, read_log

VALIDATIONS: list[Record] = [
    {"step": 10, "AP": 0.25, "AP50": 0.5, "AP75": None},
    {"step": 20, "AP": 0.5, "AP50": 0.75, "AP75": 0.4},
    {"step": 30, "AP": 0.375, "AP50": 0.8, "AP75": 0.3},
]


@pytest.fixture(scope="module")
def facts(shapes: Path) -> CardFacts:
    index = read_dataset(shapes, "train")
    return CardFacts("my-run", "shapes", index, read_dataset(shapes, "val"), "split 'val'", Recipe(), 2, CardConfig())


def test_card_of_a_run(tmp_path: Path, shapes: Path, micro: Micro) -> None:
    given = CardConfig("apache-2.0", ("someone/shapes",))
    config = micro(tmp_path / "my-run", validation={"batch_size": 2, "interval": 2}, card=given)
    run = train(config, CPU)
    card = ModelCard.load(run.folder / "README.md")
    assert card.data.library_name == "paa"
    assert card.data.pipeline_tag == "object-detection"
    assert card.data.license == "apache-2.0"
    assert card.data.datasets == ["someone/shapes"]
    assert {"object-detection", "resnet18"} <= set(card.data.tags)
    best = max((r for r in read_log(run.log) if "AP" in r), key=lambda record: record["AP"])
    assert card.data.model_name == "my-run"
    assert [result.metric_value for result in card.data.eval_results] == [
        pytest.approx(100 * best[name], abs=0.01) for name in ("AP", "AP50", "AP75")
    ]
    assert {result.dataset_type for result in card.data.eval_results} == {"someone/shapes"}
    for said in (
        "4 classes: circle, square, triangle, star",
        "4 of 4 steps of 2 images",
        "on 2 images with",
        "split 'val'",
        "| last.pt | 4 |",
        "| circle |",
    ):
        assert said in card.text, said
    assert str(tmp_path) not in card.content
    assert str(shapes) not in card.content
    recipe = json.loads(card.text.split("```json\n")[1].split("```")[0])
    assert recipe == json.loads((run.folder / "recipe.json").read_text())


def test_the_numbers_of_the_best_checkpoint_are_its_classes_thresholds(tmp_path: Path, micro: Micro) -> None:
    run = train(micro(tmp_path / "run", validation={"batch_size": 2, "interval": 2}), CPU)
    metrics = json.loads((run.folder / "metrics_last.json").read_text())
    assert run.validation is not None
    assert metrics["AP"] == run.validation["AP"]
    assert set(metrics["classes"]) == {"circle", "square", "triangle", "star"}
    read_thresholds(run.folder / "metrics_last.json")  # in the form that paa predict --thresholds takes


def test_a_card_is_there_from_the_first_step_on(tmp_path: Path, micro: Micro) -> None:
    with pytest.raises(KilledError):
        train(micro(tmp_path / "run", validation={"batch_size": 2}), CPU, kill_at(1))
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert "not trained yet" in card.text
    assert "Not evaluated yet" in card.text
    assert card.data.license is None
    assert card.data.eval_results is None
    train(micro(tmp_path / "without"), CPU)
    assert "the run had no validation" in (tmp_path / "without" / "README.md").read_text()


def test_best_and_last(facts: CardFacts) -> None:
    points = {"circle": {"point": {"threshold": 0.31, "precision": 0.9, "recall": 0.8}}, "star": {"point": None}}
    classes = {"circle": {"AP": 0.625, "AP50": 0.875, "objects": 7}, "star": {"AP": None, "AP50": None, "objects": 0}}
    text = model_card(facts, 30, VALIDATIONS, {"classes": classes, "operating_points": points})
    assert "| best.pt | 20 | 50.0 | 75.0 | 40.0 | - |" in text
    assert "| last.pt | 30 | 37.5 | 80.0 | 30.0 | - |" in text
    assert "| circle | 7 | 62.5 | 87.5 | 0.310 | 90.0 | 80.0 |" in text
    assert "| star | 0 | - | - | - | - | - |" in text
    (first, *_) = ModelCard(text).data.eval_results
    assert (first.metric_value, first.dataset_name) == (50.0, "shapes")


def test_names_that_are_markup(facts: CardFacts) -> None:
    names = ("a|b", "<b>", "[c](d)", "e\nf")
    index = replace(facts.train, names=names)
    text = model_card(replace(facts, train=index, name="x: y #1 'z'"), 30, VALIDATIONS, {})
    assert "a\\|b, \\<b\\>, \\[c\\](d), e f" in text
    assert ModelCard(text).data.model_name == "x: y #1 'z'"


@pytest.mark.parametrize(
    ("init", "shown", "base"),
    [
        (None, "Start: random weights.", None),
        ("efficientnet_lite0", "Start: `efficientnet_lite0`.", None),
        ("/home/me/secret/best.pt", "Start: `best.pt`.", None),
        ("timm/convnext_tiny.fb_in22k", "Start: `timm/convnext_tiny.fb_in22k`.", "timm/convnext_tiny.fb_in22k"),
        ("timm/convnext_tiny", "Start: `timm/convnext_tiny`.", None),
    ],
)
def test_weights_to_start_from(facts: CardFacts, init: str | None, shown: str, base: str | None) -> None:
    recipe = replace(facts.recipe, init=init, model=ModelConfig(backbone="timm/convnext_tiny"))
    text = model_card(replace(facts, recipe=recipe), 0, [], {})
    assert shown in text
    assert "secret" not in text
    assert ModelCard(text).data.base_model == base


def test_a_rule_of_ones_own_is_named_without_its_folder(facts: CardFacts) -> None:
    recipe = replace(facts.recipe, assigner="/home/me/secret/my_rules.py:rule(most=3)")
    text = model_card(replace(facts, recipe=recipe), 0, [], {})
    assert "my_rules.py:rule(most=3)" in text
    assert "secret" not in text


def test_numbers_of_an_earlier_step_are_not_those_of_last_pt(facts: CardFacts) -> None:
    assert "| last.pt | 30 |" in model_card(facts, 30, VALIDATIONS, {})
    text = model_card(facts, 34, VALIDATIONS, {})
    assert "| last.pt |" not in text
    assert "| a step before last.pt, which is of step 34 | 30 |" in text
    assert "34 of" in text


def test_many_classes_are_counted(facts: CardFacts) -> None:
    index: DatasetIndex = replace(facts.train, names=tuple(f"class {i}" for i in range(80)))
    text = model_card(replace(facts, train=index, val=None), 0, [], {})
    assert "80 classes: class 0, " in text
    assert "class 19 and 60 more" in text


def test_the_card_goes_with_the_model(tmp_path: Path, micro: Micro) -> None:
    run = train(micro(tmp_path / "run", validation={"batch_size": 2, "interval": 4}), CPU)
    model = paa.load(run.last, "cpu")
    model.save_pretrained(tmp_path / "hub")
    card = ModelCard.load(tmp_path / "hub" / "README.md")
    assert "`model.safetensors` has the weights of `last.pt`" in card.text
    assert card.data.to_dict() == ModelCard.load(run.folder / "README.md").data.to_dict()
    again = PAA.from_pretrained(tmp_path / "hub", device="cpu")
    again.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text() == (tmp_path / "hub" / "README.md").read_text()

    (run.folder / "README.md").write_text("# My notes\n")
    other = paa.load(run.last, "cpu")
    assert other.card is None
    other.save_pretrained(tmp_path / "other")
    assert "My notes" not in (tmp_path / "other" / "README.md").read_text()
    assert np.array_equal(other.mean.numpy(), model.mean.numpy())


def test_a_card_names_no_folder_of_a_file_that_is_gone(facts: CardFacts) -> None:
    """A resumed run does not need the file that it started from."""
    card = model_card(replace(facts, recipe=Recipe(init="secret/dir/w.pt", teacher="../t.pt")), 3, [], {})
    assert "secret" not in card
    assert "`w.pt`" in card
    named = model_card(replace(facts, recipe=Recipe(init="torchvision/resnet50")), 3, [], {})
    assert "`torchvision/resnet50`" in named


def test_a_card_says_that_the_model_is_for_tiles(facts: CardFacts) -> None:
    tiled = Recipe(augment=AugmentConfig(tiles=TrainTilesConfig(256)))
    card = model_card(replace(facts, recipe=tiled), 3, VALIDATIONS, {})
    for said in ("on tiles of 256 pixels", "best.pt photos --tiles 256 --threshold 0.4", '"photo.jpg", tiles=256'):
        assert said in card
    assert "tiles" not in model_card(facts, 3, VALIDATIONS, {}).split("## Training")[0]


def test_a_card_has_the_options_that_are_no_part_of_a_recipe(tmp_path: Path, micro: Micro) -> None:
    data = {"keep_empty": False}
    run = train(micro(tmp_path / "run", data=data, validation={"batch_size": 0}, runtime={"seed": 7}), CPU)
    said = "--recipe recipe.json --data DATA --seed 7 --no-keep-empty --val-batch-size 0`"
    assert said in (run.folder / "README.md").read_text()
