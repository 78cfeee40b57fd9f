"""What a script learns from the exit code of each command: the table of `EXIT_CODES`, of `paa --help` and the docs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from paa.commands import main as command_line
from paa.commands.main import EXIT_CODES, main
from paa.commands.weights import ListWeights

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "scripts.md"


def code_of(*arguments: object) -> int:
    """Return the exit code of a command line."""
    try:
        main(list(map(str, arguments)))
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_table_is_in_the_help_and_in_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("--help") == 0
    shown = capsys.readouterr().out
    rows = re.findall(r"^\| (\d+) \|", HOW_TO.read_text(), re.MULTILINE)
    assert [int(row) for row in rows] == list(EXIT_CODES)
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in shown


def test_done(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    assert code_of("weights") == 0
    assert code_of("completion", "bash") == 0
    assert code_of("data", "check", shapes) == 0
    assert code_of("convert", checkpoint, tmp_path / "model.safetensors") == 0


def test_findings(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    bad = tmp_path / "images"
    bad.mkdir()
    (bad / "a.jpg").write_bytes((shapes / "images" / "000000.jpg").read_bytes())
    (bad / "b.jpg").write_text("no image")
    predict = ["predict", checkpoint, bad, "--output", tmp_path / "out", "--device", "cpu"]
    assert code_of(*predict) == 1
    assert code_of(*predict, "--skip-bad") == 0
    text = (shapes / "train.json").read_text()
    (tmp_path / "train.json").write_text(text.replace('"file_name": "000000.jpg"', '"file_name": "nosuch.jpg"'))
    assert text != (tmp_path / "train.json").read_text()
    assert code_of("data", "check", tmp_path / "train.json", "--images", shapes / "images") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["data"], ["nonsense"], ["eval"], ["train", "--data", "x", "--nonsense"], ["weights", "nonsense"]]
)
def test_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.err
    assert not printed.out


def test_a_fault_of_the_project(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(self: ListWeights, console: Any) -> None:
        raise ZeroDivisionError("what a programmer did")

    monkeypatch.setattr(ListWeights, "run", fails)
    monkeypatch.setattr(sys, "argv", ["paa", "weights"])
    with pytest.raises(SystemExit) as stopped:
        command_line.program()
    assert stopped.value.code == 3
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "ZeroDivisionError: what a programmer did" in error
    assert "a fault of paa, not of your input" in error


def test_interrupted(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    """By a real signal, as a key sends it, to the program itself, which saves the step that it was in."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "paa", "train", "--data", str(shapes), "--output", str(out), *options]
    process = subprocess.Popen(
        [*command, "--schedule.steps", "100000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("step ")  # it trains
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    finally:
        process.kill()  # it would train for hours beside the other tests
    assert process.returncode == 130
    said = re.fullmatch(
        r"paa: interrupted by SIGINT after step (\d+) of 100000; --resume goes on", error.splitlines()[-1]
    )
    assert said is not None
    assert torch.load(out / "last.pt", weights_only=True)["training"]["step"] == int(said[1])
