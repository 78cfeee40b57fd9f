"""With --json, standard output is one JSON document and nothing else; what a command says goes to standard error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paa.commands.main import COMMANDS, main
from paa.weights.hosted import MODELS

WITH_JSON = {"eval", "export", "study", "weights", "data check", "data stats"}
"""The commands whose result a script would read; those of export and study are in tests of their own."""


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    capsys.readouterr()
    main([*map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


def test_which_commands_have_it() -> None:
    assert {name for name, kind in COMMANDS.items() if hasattr(kind, "json")} == WITH_JSON


def test_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    listed = printed(capsys, "weights")
    assert [one["name"] for one in listed["detectors"]] == list(MODELS)
    assert {one["path"] for one in listed["detectors"]} == {None}
    assert listed["detectors"][0]["AP"] == 40.4
    assert {"efficientnet_lite0", "torchvision/NAME", "timm/NAME"} <= listed["backbones"].keys()
    fetched = MODELS["mmdet/r50_1x"].cached
    fetched.parent.mkdir(parents=True)
    fetched.write_bytes(b"1234")
    assert printed(capsys, "weights")["detectors"][0] == {
        "name": "mmdet/r50_1x",
        "AP": 40.4,
        "path": str(fetched),
        "bytes": 4,
    }


def test_data(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "data", "stats", shapes).keys() >= {"train", "val"}
    assert printed(capsys, "data", "check", shapes)["counts"]["error"] == 0


def test_eval(shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = printed(
        capsys, "eval", checkpoint, "--data", shapes, "--workers", 0, "--device", "cpu", "--draws", 10
    )  # fmt: skip
    assert numbers["metrics"]["AP"] is not None
