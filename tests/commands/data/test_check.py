"""paa data check: what is printed, JSON, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paa.commands.main import main
from tests.data.data_files import box, coco_json

WHOLE = [box(1, 1, (0, 0, 60, 50)), box(2, 2, (9, 9, 60, 50), 7)]


def run(*arguments: object) -> int:
    """Run `paa data check` in one process; return its exit code."""
    try:
        main(["data", "check", *map(str, arguments), "--workers", "0", "--device", "cpu"])
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else -1
    return 0


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code = run(*arguments, "--json")
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, result


def test_clean(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shapes) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == "0 errors, 0 warnings, 0 hints: clean"
    assert out[-2].startswith("size of training as auto decides: short side 160, long side at most 267 pixels; anchors")


def test_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = coco_json(tmp_path / "train.json", [*WHOLE, *(box(i, 9, (0, 0, 9, 9)) for i in range(3, 8))])
    assert run(path, "--show", "2") == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[:4] == [
        "error: annotations and images that cannot be used: 5",
        f"  train: {path}: annotation 3 (image 9) has unknown image 9",
        f"  train: {path}: annotation 4 (image 9) has unknown image 9",
        "  and 3 more (--show 0 prints all, --json too)",
    ]
    assert captured.err == ""
    run(path, "--show", "0")
    assert capsys.readouterr().out.count("has unknown image 9") == 5


def test_json(tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = run_json(capsys, shapes, "--recipe", "r50_1x")
    assert code == 0
    assert result["training"] == {
        "min_size": 800,
        "max_size": 1333,
        "anchor_scale": 8,
        "first_level": 3,
        "checkpoint": None,
    }
    assert result["splits"]["val"]["images"] == 2
    assert result["problems"] == []
    path = coco_json(tmp_path / "train.json", [*WHOLE, box(3, 9, (0, 0, 9, 9))])
    code, result = run_json(capsys, path)
    assert code == 1
    assert result["counts"] == {"error": 1, "warning": 0, "hint": 0}
    assert result["problems"] == [
        {
            "kind": "unusable",
            "level": "error",
            "split": "train",
            "message": f"{path}: annotation 3 (image 9) has unknown image 9",
        }
    ]


def test_hints_alone_are_clean_unless_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = coco_json(tmp_path / "train.json", [*WHOLE, box(3, 1, (0, 0, 9, 9))])
    size = ("--min-size", "30")
    assert run(path, *size) == 0
    assert "has 4.5 pixels a side where the short side of images has 30" in capsys.readouterr().out
    assert run(path, *size, "--strict") == 1
    assert run(path, *size, "--strict", "--small", "4", "--recipe", "r18_nano") == 1
    capsys.readouterr()
    _, result = run_json(capsys, path, *size, "--max-size", "35")
    assert (result["training"]["min_size"], result["training"]["max_size"]) == (30, 35)


def test_a_checkpoint(shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = run_json(capsys, shapes, "--checkpoint", checkpoint, "--positives", "1000")
    assert code == 0
    assert result["training"]["min_size"] == 64
    assert result["counts"]["hint"] == sum(split["objects"] for split in result["splits"].values())
    assert result["positives"]["train"]["median"] > 0
    run(shapes, "--checkpoint", checkpoint)
    assert "positives in the median" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        (["SHAPES", "--splits", "test"], "no COCO annotations for 'test'"),
        (["SHAPES", "--show", "-1"], "--show must be at least 0, got -1"),
        (["SHAPES", "--min-size", "0"], "model.min_size must be from 1 to 10000, got 0"),
        (["SHAPES", "--recipe", "modern", "--checkpoint", "x.pt"], "--checkpoint and --recipe exclude each other"),
        (["SHAPES", "--assigner", "paa.core:PaaAssigner"], "--assigner needs --checkpoint"),
        (["SHAPES", "--positives", "9"], "--positives needs --checkpoint"),
        (["SHAPES", "--checkpoint-format", "mmdet"], "--checkpoint-format needs --checkpoint"),
        (["SHAPES", "--recipe", "none"], "none"),
        (["SHAPES", "--checkpoint", "x.pt"], "x.pt"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], message: str, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(str(shapes) if word == "SHAPES" else word for word in arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("paa: error: ")
    assert message in line
