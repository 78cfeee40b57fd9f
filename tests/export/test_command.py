"""paa export, and the commands that take an exported file in place of a checkpoint."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import paa
from paa.commands.main import main
from paa.export import onnx_model, run


@pytest.mark.usefixtures("written")
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
    main(["export", str(checkpoint), str(path), "--sample-images", str(shapes / "images"), "--samples", "3"])
    assert "3 sample images: " in capsys.readouterr().out


@pytest.mark.usefixtures("written")
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


@pytest.mark.usefixtures("written")
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
        (["a.pt", "model.pt"], "known: .onnx (ONNX), .xml (OpenVINO), .pt2 (PyTorch, compiled ahead)"),
        (["a.pt", "model"], "known: .onnx (ONNX)"),
        (["a.pt", "model.onnx", "--int8"], "--int8 is for the forms .xml, not for .onnx"),
        (["a.pt", "model.xml", "--int8"], "--int8 needs --data PATH"),
        (["a.pt", "model.pt2", "--resize"], "--resize is for the forms .onnx, .xml, not for .pt2"),
        (["a.pt", "model.xml", "--calibration-images", "0"], "--calibration-images must be at least 1"),
        (["a.pt", "missing/model.onnx"], "there is no folder missing"),
        (["a.pt", "model.onnx"], "a.pt: no such file"),
        (["a.pt", "model.onnx", "--nms-iou", "2"], "nms_iou must be from 0 to 1"),
        (["a.pt", "model.onnx", "--limit", "0"], "--limit must be at least 1"),
        (["a.pt", "model.onnx", "--limit", "9"], "--limit is about a data set, --data PATH"),
        (["a.pt", "model.onnx", "--images", "."], "--images is about a data set, --data PATH"),
        (["a.pt", "model.onnx", "--tolerance", "-1"], "--tolerance must be at least 0"),
        (["a.pt", "model.onnx", "--tolerance", "0"], "--tolerance is about a data set, --data PATH"),
        (["a.pt", "model.onnx", "--split", "test"], "--split is about a data set, --data PATH"),
        (["a.pt", "model.onnx", "--allow-outside", "/"], "--allow-outside is about a data set, --data PATH"),
        (["a.pt", "model.onnx", "--data", ".", "--calibration-split", "val"], "have no effect without --int8"),
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


@pytest.mark.parametrize(
    ("checkpoint_name", "output", "message"),
    [
        ("model.bin", "model.xml", "model.bin: would be overwritten with model.xml"),
        ("model.pt2", "model.pt2", "model.pt2: would be overwritten by its export"),
        ("model.unproven.onnx", "model.onnx", "model.unproven.onnx: would be overwritten by its export"),
    ],
)
def test_a_checkpoint_is_never_overwritten(
    checkpoint_name: str,
    output: str,
    message: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Checkpoints may have any name, also that of a file that an export writes beside its own."""
    renamed = tmp_path / checkpoint_name
    renamed.write_bytes(checkpoint.read_bytes())
    with pytest.raises(SystemExit) as caught:
        main(["export", str(renamed), str(tmp_path / output)])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint_name]
    assert renamed.read_bytes() == checkpoint.read_bytes()


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
    xml = tmp_path / "model.xml"
    xml.touch()
    for package, extra, model in (("onnxruntime", "onnx", exported), ("openvino", "openvino", xml)):
        monkeypatch.setitem(sys.modules, package, None)
        for words in (["export", "a.pt", str(tmp_path / f"a{model.suffix}")], ["eval", str(model), "--data", "x"]):
            with pytest.raises(SystemExit):
                main(words)
            assert f"{package} is not installed: pip install 'paa[{extra}]'" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_resizing_in_the_graph(
    suffix: str,
    traced: Callable[..., Any],
    checkpoint: Path,
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openvino" if suffix == ".xml" else "onnxruntime")
    monkeypatch.setattr(onnx_model, "_to_onnx", traced)
    path = tmp_path / f"model{suffix}"
    data = ["--data", str(shapes), "--split", "train", "--workers", "0", "--limit", "4"]
    main(["export", str(checkpoint), str(path), "--resize", *data, "--tolerance", "3"])
    said = capsys.readouterr().out
    assert f"written to {path}" in said
    model = paa.load(path)
    assert model.resizes
    images = sorted((shapes / "images").iterdir())[:3]
    for ours, theirs in zip(model.predict(images), paa.load(checkpoint, "cpu").predict(images), strict=True):
        assert len(theirs) > 3
        # of images resized by other arithmetic
        assert abs(len(ours) - len(theirs)) <= 2
        assert abs(ours.boxes[0] - theirs.boxes[0]).max() < 3
    main(["predict", str(path), str(images[0]), "--output", str(tmp_path / "predictions")])
    assert (tmp_path / "predictions" / "detections.json").is_file()
    with pytest.raises(SystemExit):
        main(["predict", str(path), str(images[0]), "--tiles", "64", "--output", str(tmp_path / "none")])
    assert "export the checkpoint without --resize" in capsys.readouterr().err


def test_int8_on_the_command_line(
    traced: Callable[..., Any],
    checkpoint: Path,
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("nncf")
    monkeypatch.setattr(onnx_model, "_to_onnx", traced)
    path = tmp_path / "model.xml"
    words = ["export", str(checkpoint), str(path), "--int8", "--calibration-images", "3"]
    words += ["--data", str(shapes), "--split", "train", "--workers", "0"]
    main([*words, "--tolerance", "100"])
    captured = capsys.readouterr()
    assert f"written to {path}" in captured.out
    assert "of the exported model: difference" in captured.out
    assert "nncf" not in (captured.out + captured.err).lower()  # a line for each operation, and a progress bar
    said = paa.load(path).graph.description
    assert said.precision == "int8"
    assert said.provenance["calibration"] == "3 images of the split train"
    before = path.read_bytes()
    monkeypatch.setattr(run, "compare_aps", lambda *_: (50.0, 49.0))
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 1
    out = capsys.readouterr().out
    assert "AP 50.00 of the checkpoint, 49.00 of the exported model: difference 1.00, tolerance 0.1" in out
    assert f"(a higher --tolerance keeps such a model): left at {tmp_path / 'model.unproven.xml'}" in out
    assert path.read_bytes() == before
    assert (tmp_path / "model.unproven.bin").is_file()
