"""paa export, and the commands that take an exported file in place of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paa.commands.main import main
from paa.export import run


@pytest.fixture
def _written(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter, which takes seconds, writes the file that it wrote before."""
    monkeypatch.setattr(run, "write_onnx", lambda path, *_: path.write_bytes(exported.read_bytes()))


@pytest.mark.usefixtures("_written")
def test_export_prints_how_close_the_exported_model_is(
    checkpoint: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    data = ["--data", str(shapes), "--split", "train", "--workers", "0", "--limit", "4"]
    main(["export", str(checkpoint), str(path), *data])
    said = capsys.readouterr().out
    assert "4 sample images: " in said
    assert " 0 of one of them alone" in said
    assert "difference 0.00, tolerance 0.1" in said
    assert f"written to {path}" in said
    main(["export", str(checkpoint), str(path)])
    assert "4 drawn images: " in capsys.readouterr().out


@pytest.mark.usefixtures("_written")
def test_json_alone_is_on_standard_output(
    checkpoint: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    data = ["--data", str(shapes), "--workers", "0"]
    main(["export", str(checkpoint), str(path), *data, "--json"])
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["path"] == str(path)
    assert result["kept"] is True
    assert result["bytes"] == path.stat().st_size
    assert result["samples"]["detections_of_one"] == 0
    assert result["AP"]["checkpoint"] == pytest.approx(result["AP"]["exported"], abs=0.1)
    assert "exporting ..." in printed.err


@pytest.mark.usefixtures("_written")
def test_export_fails_where_the_models_differ(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "compare_samples", lambda *_: run.SampleDifferences(1, 10, 2.0, 0.0, 0))
    with pytest.raises(SystemExit) as caught:
        main(["export", str(checkpoint), str(tmp_path / "model.onnx")])
    assert caught.value.code == 1
    assert f"left at {tmp_path / 'model.unproven.onnx'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.pt", "model.pt"], "name it model.onnx"),
        (["a.pt", "missing/model.onnx"], "there is no folder missing"),
        (["a.pt", "model.onnx"], "a.pt: no such file"),
        (["a.pt", "model.onnx", "--nms-iou", "2"], "nms_iou must be from 0 to 1"),
        (["a.pt", "model.onnx", "--limit", "0"], "--limit must be at least 1"),
        (["a.pt", "model.onnx", "--tolerance", "-1"], "--tolerance must be at least 0"),
    ],
    ids=str,
)
def test_what_cannot_be_exported_is_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["export", *words])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_eval_and_predict_take_an_exported_file(
    exported: Path, checkpoint: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found: dict[str, Any] = {}
    for model in (checkpoint, exported):
        out = tmp_path / model.name
        common = ["--device", "cpu", "--output"]
        data = ["--data", str(shapes), "--split", "train", "--workers", "0"]
        main(["eval", str(model), *data, *common, str(out / "eval")])
        main(["predict", str(model), str(shapes / "images"), "--batch-size", "3", *common, str(out / "predict")])
        metrics = json.loads((out / "eval" / "metrics.json").read_text())
        found[model.name] = metrics, json.loads((out / "predict" / "detections.json").read_text())
    metrics, detections = zip(*found.values())
    assert metrics[0]["AP"] > 0
    for name in set(metrics[0]) - {"operating_points"}:  # whose scores differ in the last digits
        assert metrics[0][name] == metrics[1][name]
    counts = [[len(image["detections"]) for image in images] for images in detections]
    assert counts[0] == counts[1]
    assert sum(counts[0]) > 10
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["predict", str(exported), str(shapes / "images"), "--no-voting", "--output", str(tmp_path / "none")])
    assert caught.value.code == 2
    assert "export the checkpoint again with --no-voting" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_without_the_packages_a_line_names_them(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    for words in (["export", "a.pt", str(tmp_path / "model.onnx")], ["eval", str(exported), "--data", "x"]):
        with pytest.raises(SystemExit):
            main(words)
        assert "onnxruntime is not installed: pip install 'paa[onnx]'" in capsys.readouterr().err
