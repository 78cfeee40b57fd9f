"""The help of a command fits a screen, and --help-all has every option."""

import re

import pytest

from paa.commands.main import COMMANDS, main

SCREEN = 48
"""Lines of a terminal that fills a laptop's screen."""


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([word for argument in arguments for word in argument.split()])  # a command may have two words
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_screen(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = help_of(capsys, command, "--help")
    assert help_of(capsys, command, "-h") == shown
    assert len(shown.splitlines()) <= SCREEN
    assert "None" not in shown
    assert f"paa {command} --help-all shows every option." in shown or COMMANDS[command].usual is None


@pytest.mark.parametrize("command", COMMANDS)
def test_all_options_are_the_usual_ones_and_more(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    usual, all_options = (
        set(re.findall(r"--\w[\w.-]+", help_of(capsys, command, flag))) for flag in ("--help", "--help-all")
    )
    assert usual - {"--help-all"} <= all_options
    if COMMANDS[command].usual is not None:
        assert len(all_options) > len(usual)


@pytest.mark.parametrize("command", [name for name, kind in COMMANDS.items() if kind.usual is not None])
def test_every_usual_option_is_shown(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = help_of(capsys, command, "--help")
    options = set(re.findall(r"^\W{0,3}(--\w[\w.-]+)", shown, re.MULTILINE))
    usual = COMMANDS[command].usual
    positional = [name for name in usual if re.search(rf"^\W{{0,3}}{name.upper()}\b", shown, re.MULTILINE)]
    assert len(options) + len(positional) == len(usual)


def test_an_option_without_a_value_reads_as_its_type(capsys: pytest.CaptureFixture[str]) -> None:
    shown = help_of(capsys, "train", "--help-all")
    assert "--output PATH" in shown
    assert "--schedule.epochs FLOAT" in shown


def test_the_recipe_named_gives_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    shown = help_of(capsys, "train", "--recipe", "r18_nano", "--help")
    assert "resnet18)" in shown
