"""Training by each rule: by its name, which the recipe of the run keeps."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

import paa
from paa.assigners import ASSIGNERS
from paa.commands.main import parse
from paa.commands.train import Train
from paa.errors import ConfigError
from paa.recipes import find_recipe
from paa.training.train import train
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
        paa.train(shapes, "r18_nano", assigner="hungry", output=tmp_path / "run")  # type: ignore[arg-type]
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


def test_a_file_with_an_unknown_name_is_no_recipe(tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps({"assigner": "hungry"}))
    with pytest.raises(ConfigError, match=r"not a recipe .*'hungry'"):
        find_recipe(str(file))
