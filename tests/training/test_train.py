"""What a run trains, logs, saves and validates."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import paa
from paa.data.batch import Batch
from paa.training import train as engine
from paa.training.records import Record
from paa.training.run import Run
from paa.training.train import train
from tests.training.runs import CPU, Micro, differences, load, read_log


def test_folder_of_a_run(tmp_path: Path, micro: Micro) -> None:
    heard: list[Record] = []
    config = micro(tmp_path / "a" / "run", validation={"batch_size": 2, "interval": 2}, schedule={"clip_norm": 0.5})
    run = train(config, CPU, heard.append)
    assert {path.name for path in run.folder.iterdir()} == {
        "config.json", "recipe.json", "log.jsonl", "tensorboard", "last.pt", "previous.pt", "best.pt",
        "README.md", "metrics_last.json", "metrics_best.json",
    }  # fmt: skip

    written = json.loads((run.folder / "config.json").read_text())
    assert written["recipe"]["model"]["channels"] == 16
    assert written["recipe"]["schedule"]["decays"] == [3]
    assert written["data"]["path"] == str(config.data.path)
    assert written["batch_size"] == 2
    assert written["processes"] == 1
    assert written["environment"]["torch"] == torch.__version__
    assert written["environment"]["paa"] == paa.__version__
    assert {"python", "torchvision", "git_commit", "git_changed_files", "command"} <= set(written["environment"])

    records = read_log(run.log)
    assert records == heard
    trained = [record for record in records if "loss" in record]
    assert [record["step"] for record in trained] == [1, 2, 3, 4]
    for record in trained:
        parts = [record[f"loss_{name}"] for name in ("classification", "box", "iou")]
        assert record["loss"] == pytest.approx(sum(parts))
        assert record["steps"] == 4
        assert record["positives"] > 0
        assert record["gradient_norm"] > 0
        assert record["images_per_second"] > 0
    assert [record["lr"] for record in trained] == pytest.approx([0.002 / 3, 0.002 / 3, 0.002, 0.0002])
    assert trained[0]["seconds_left"] > 0
    assert trained[-1]["seconds_left"] == 0
    assert {"AP", "AP50", "AR100", "evaluation_seconds"} <= set(records[-1])

    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    for name in ("loss/classification", "loss/box", "loss/iou", "lr"):
        assert [event.step for event in events.Scalars(name)] == [1, 2, 3, 4]
    assert [event.value for event in events.Scalars("loss/box")] == pytest.approx([r["loss_box"] for r in trained])
    assert [event.step for event in events.Scalars("AP")] == [2, 4]


def test_the_average_is_evaluated_and_saved(tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(detector: torch.nn.Module) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in detector.state_dict().items()}

    weights: list[dict[str, torch.Tensor]] = []
    evaluated: list[dict[str, torch.Tensor]] = []
    train_step, evaluate_weights = engine.train_step, engine.evaluate_weights

    def spy_on_step(run: Run, parts: Sequence[Batch]) -> Any:
        weights.extend([] if weights else [copy(run.state.detector)])
        result = train_step(run, parts)
        weights.append(copy(run.state.detector))
        return result

    def spy_on_evaluation(run: Run) -> Record:
        evaluated.append(copy(run.state.evaluated))
        return {**evaluate_weights(run), "AP": 0.1 * len(evaluated)}

    monkeypatch.setattr(engine, "train_step", spy_on_step)
    monkeypatch.setattr(engine, "evaluate_weights", spy_on_evaluation)
    schedule = {"ema": 0.2, "frozen_stages": 2}
    validation = {"batch_size": 2, "interval": 2}
    run = train(micro(tmp_path / "run", model={"norm": "batch"}, schedule=schedule, validation=validation), CPU)

    average = weights[0]
    for decay, new in zip((1 / 10, 2 / 11, 0.2, 0.2), weights[1:]):
        average = {n: decay * t + (1 - decay) * new[n] if t.is_floating_point() else new[n] for n, t in average.items()}
    content = load(run.last)
    torch.testing.assert_close(content["model"], average)
    assert differences(content["training"]["weights"], weights[-1]) == []
    assert differences(content["model"], content["training"]["weights"])
    assert len(evaluated) == 2
    for path in (run.last, run.best):
        assert differences(load(path)["model"], evaluated[-1]) == []
    assert not paa.load(run.last, "cpu").training


@pytest.mark.parametrize(
    ("values", "best"), [([0.1, 0.3, 0.2], 2), ([None, None, None], 3), ([0.2, 0.2, 0.2], 1), ([None, 0.0, 0.1], 3)]
)
def test_the_best_is_kept(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, values: list[float | None], best: int
) -> None:
    coming = iter(values)
    monkeypatch.setattr(engine, "evaluate_weights", lambda *_: {"AP": next(coming), "AP50": None})
    run = train(micro(tmp_path / "run", schedule={"steps": 3}, validation={"batch_size": 1, "interval": 1}), CPU)
    content = load(run.best)
    assert content["training"]["step"] == best
    assert content["training"]["best"] == (values[best - 1] or 0.0)
    assert content["training"]["best_step"] == best
    assert f"| best.pt | {best} |" in (run.folder / "README.md").read_text()
    assert load(run.last)["training"]["step"] == 3
    for record in (record for record in read_log(run.log) if "AP" in record):
        before = [value or 0.0 for value in values[: record["step"] - 1]]
        highest = max(before, default=0.0)
        assert record.get("highest_AP", 0.0) == highest
        assert record.get("highest_AP_step") == (before.index(highest) + 1 if highest else None)
    model = paa.load(run.best, "cpu")
    assert model.names == ("circle", "square", "triangle", "star")


@pytest.mark.parametrize(("values", "steps"), [([None, 0.0, 0.1, 0.1], 4), ([0.0, 0.2, 0.2, 0.3], 3)])
def test_patience_begins_with_the_first_object_that_is_found(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, values: list[float | None], steps: int
) -> None:
    coming = iter(values)
    monkeypatch.setattr(engine, "evaluate_weights", lambda *_: {"AP": next(coming), "AP50": None})
    run = train(micro(tmp_path / "run", validation={"batch_size": 1, "interval": 1, "patience": 1}), CPU)
    assert (run.step, run.stopped) == (steps, steps < 4)


def test_frozen_statistics_and_trained_weights(tmp_path: Path, micro: Micro, checkpoint: Path) -> None:
    """Starts from a model whose batch norm is frozen."""
    changes = {
        "model": {"norm": "affine"},
        "schedule": {"frozen_stages": 2},
        "validation": {"batch_size": 2, "interval": 2},
    }
    run = train(micro(tmp_path / "run", init=str(checkpoint), **changes), CPU)
    before, after = load(checkpoint)["model"], load(run.last)["model"]
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"backbone.layer2.0.bn1.weight", "backbone.layer4.1.bn2.bias"} <= changed
    assert not [name for name in changed if "running" in name or "layer1" in name or "backbone.bn1" in name]
    assert {name.rpartition(".")[2] for name in set(after) - set(before)} == {"num_batches_tracked"}


def test_bfloat16_channels_last_clipping(tmp_path: Path, micro: Micro) -> None:
    def run(name: str, **runtime: Any) -> list[Record]:
        validation = {"batch_size": 2, "interval": 4}
        changes = {"schedule": {"clip_norm": 1e-3}, "validation": validation, "runtime": runtime}
        return read_log(train(micro(tmp_path / name, **changes), CPU).log)

    plain, half = run("plain"), run("half", precision="bfloat16", channels_last=True)
    assert plain[0]["loss"] != half[0]["loss"]
    for a, b in zip(plain, half):
        if "loss" in a:
            assert b["loss"] == pytest.approx(a["loss"], rel=0.05)
            assert b["gradient_norm"] > 1e-3
    assert load(tmp_path / "half" / "last.pt")["model"]["fpn.p6.weight"].dtype == torch.float32


def test_clipping_bounds_the_step(tmp_path: Path, micro: Micro, checkpoint: Path) -> None:
    schedule = {"steps": 1, "clip_norm": 1e-3, "lr": 0.3, "weight_decay": 0.0, "bias_lr_factor": 1.0}
    run = train(micro(tmp_path / "run", init=str(checkpoint), schedule=schedule), CPU)
    before, after = load(checkpoint)["model"], load(run.last)["model"]
    moved = math.sqrt(sum(float((after[name] - before[name]).double().square().sum()) for name in before))
    assert moved == pytest.approx(0.3 / 3 * 1e-3, rel=1e-2)


def test_images_without_objects(tmp_path: Path, micro: Micro, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "images").mkdir()
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
    images = [{"id": i, "file_name": f"{i}.png", "height": 64, "width": 64} for i in range(4)]
    boxes = [{"id": 1, "image_id": 2, "category_id": 1, "bbox": [10, 10, 40, 40]}]
    for split, objects in (("train", boxes), ("val", [])):
        content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "thing"}]}
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    shared: dict[str, Any] = {
        "data": {"path": tmp_path},
        "batch_size": 1,
        "validation": {"batch_size": 2, "interval": 4},
    }
    run = train(micro(tmp_path / "run", schedule={"reference_batch": 1}, **shared), CPU)
    trained = [record for record in read_log(run.log) if "loss" in record]
    empty = [record for record in trained if record["positives"] == 0]
    assert len(empty) == 3
    for record in empty:
        assert record["loss_box"] == record["loss_iou"] == 0
        assert 0 < record["loss_classification"] < math.inf
    assert read_log(run.log)[-1]["AP"] is None
    assert load(run.best)["training"]["best"] == 0
    assert "the validation images have no objects: AP is undefined" in caplog.text

    shared["data"] = {"path": tmp_path, "keep_empty": False}
    full = train(micro(tmp_path / "full", schedule={"reference_batch": 1}, **shared), CPU)
    assert all(record["positives"] > 0 for record in read_log(full.log) if "loss" in record)
