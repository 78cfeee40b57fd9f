"""What can be completed is what the commands take: the options of --help-all, and what their types say."""

from __future__ import annotations

import re

import pytest

from paa.commands.main import COMMANDS, main
from paa.commands.shells.known import known_values
from paa.commands.shells.words import Option, Values, Words, words_of
from paa.recipes import RECIPES
from paa.weights.hosted import MODELS


@pytest.fixture(scope="module")
def words() -> dict[str, Words]:
    return {name: words_of(kind, known_values(name)) for name, kind in COMMANDS.items()}


def option(words: Words, flag: str) -> Option:
    return next(option for option in words.options if flag in option.flags)


@pytest.mark.parametrize("command", COMMANDS)
def test_options_are_those_of_the_help(
    command: str, words: dict[str, Words], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit):
        main([*command.split(), "--help-all"])
    shown = re.findall(r"^[^\w-]{0,3}(--?\w.*?)(?:  |$)", capsys.readouterr().out, re.MULTILINE)
    flags = {flag for line in shown for flag in re.findall(r"(?<![\w-])--?\w[\w.-]*", line)}
    assert {flag for option in words[command].options for flag in option.flags} - {"--help-all"} == flags
    assert len(flags) > 1


def test_values_follow_the_types(words: dict[str, Words]) -> None:
    train, predict = words["train"], words["predict"]
    assert option(train, "--schedule.optimizer").values == Values(("sgd", "adamw"))
    assert option(train, "--data").values == Values(files=True)
    assert option(train, "--batch-size").values == Values()
    assert option(train, "--augment.min-sizes").values == Values(many=True)
    assert option(train, "--model.bgr").flags == ("--model.bgr", "--model.no-bgr")
    assert option(train, "--model.bgr").values is None
    assert option(predict, "--save").values == Values(("images", "coco", "yolo", "csv", "parquet"), many=True)
    assert [(one.name, one.values.files, one.values.many) for one in predict.positionals] == [
        ("checkpoint", True, False),
        ("paths", True, True),
    ]
    assert words["completion"].positionals[0].values == Values(("bash", "zsh", "fish"))


def test_known_names(words: dict[str, Words]) -> None:
    recipe, weights = option(words["train"], "--recipe").values, words["weights"].positionals[0].values
    assert recipe == Values(tuple(RECIPES), files=True)
    assert weights == Values(tuple(MODELS), many=True)
    assert not words["convert"].positionals[1].values.words  # its output is no name
    assert option(words["convert"], "--names").values == Values(many=True)


def test_descriptions_are_short_and_there(words: dict[str, Words]) -> None:
    for command in words.values():
        assert command.help
        for option in command.options:
            assert 0 < len(option.help) <= 80, option
