"""A step's gradients: those of the whole batch, in however many parts it is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from paa.training.records import ignore
from paa.training.setup import set_up
from paa.training.step import train_step
from paa.training.train import train
from tests.training.runs import CPU, NEVER, Micro, load, read_log

STEADY: dict[str, Any] = {
    "batch_size": 4,
    "augment": {"scale_jitter": (0.5, 1.5)},  # images of several sizes, which the parts are padded to
    "schedule": {"reference_batch": 4, "frozen_stages": 2, "clip_norm": 5.0, "ema": 0.5},
    "validation": {"batch_size": 1, "interval": 4, "limit": 1},
}


def gap(tensors: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    """Return the largest difference of two sets of tensors, as a share of each tensor's largest value."""
    return max(
        float((tensor - others[name]).abs().max() / tensor.abs().max().clamp(min=1e-6))
        for name, tensor in tensors.items()
        if tensor.is_floating_point()
    )


@pytest.mark.parametrize(("norm", "accumulate"), [("frozen", 2), ("affine", 4)])
def test_a_batch_in_parts_is_the_whole_batch(
    tmp_path: Path, micro: Micro, checkpoint: Path, norm: str, accumulate: int
) -> None:
    """The parts have different numbers of positives; weights, their average and what is logged are equal to 1e-5."""
    shared = {**STEADY, "model": {"norm": norm}, "init": str(checkpoint)}
    whole, parts = (train(micro(tmp_path / str(n), **shared, accumulate=n), CPU) for n in (1, accumulate))
    one, several = load(whole.last), load(parts.last)
    assert gap(one["training"]["weights"], several["training"]["weights"]) < 1e-5
    assert gap(one["model"], several["model"]) < 1e-5
    assert gap(load(checkpoint)["model"], one["training"]["weights"]) > 1e-3  # something was learned
    for a, b in zip(read_log(whole.log), read_log(parts.log), strict=True):
        for name in ("loss", "loss_classification", "loss_box", "loss_iou", "positives", "gradient_norm", "AP"):
            if name in a:
                assert b[name] == pytest.approx(a[name], rel=1e-5, abs=1e-7), name


def test_images_without_objects_in_a_part(tmp_path: Path, micro: Micro) -> None:
    """A part without a positive is divided by the positives of the others."""
    gradients = []
    for accumulate in (1, 2):
        with set_up(micro(tmp_path / str(accumulate), batch_size=2, accumulate=accumulate), CPU, ignore, NEVER) as run:
            parts = [batch for batch, _ in zip(run.loader, range(accumulate))]
            labels = [part.gt_labels for part in parts]
            labels[0][0] = -1
            result = train_step(run, parts)
            assert result.num_positives > 0
            gradients.append({n: p.grad for n, p in run.state.detector.named_parameters() if p.grad is not None})
    assert gap(*gradients) < 1e-5


def test_trained_statistics_count_each_image_once(tmp_path: Path, micro: Micro) -> None:
    shared = {"model": {"norm": "batch"}, "schedule": {"steps": 1, "frozen_stages": 0}}
    run = train(micro(tmp_path / "run", accumulate=2, **shared), CPU)
    counts = [value for name, value in load(run.last)["model"].items() if name.endswith("num_batches_tracked")]
    assert counts
    assert all(count == 2 for count in counts)  # the parts, not their forward passes


@pytest.mark.parametrize("runtime", [{"precision": "bfloat16"}, {"workers": 1}])
def test_other_settings(tmp_path: Path, micro: Micro, runtime: dict[str, Any]) -> None:
    shared = {**STEADY, "validation": {}, "runtime": runtime}
    whole, parts = (train(micro(tmp_path / str(n), **shared, accumulate=n), CPU) for n in (1, 2))
    assert whole.training is not None
    assert parts.training is not None
    close = 1e-5 if "workers" in runtime else 0.05
    assert parts.training["loss"] == pytest.approx(whole.training["loss"], rel=close)


def test_a_resumed_run_may_have_other_parts(tmp_path: Path, micro: Micro) -> None:
    whole = train(micro(tmp_path / "whole", **STEADY), CPU)
    schedule = {**STEADY["schedule"], "steps": 2}
    train(micro(tmp_path / "run", **{**STEADY, "schedule": schedule}, accumulate=4), CPU)
    resumed = train(micro(tmp_path / "run", **STEADY, resume="last", accumulate=2), CPU)
    assert (resumed.step, load(resumed.last)["training"]["step"]) == (4, 4)
    assert gap(load(whole.last)["training"]["weights"], load(resumed.last)["training"]["weights"]) < 1e-4


def test_compiled(tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function that gives the normalisers is another one at each step, and nothing is traced again for it."""
    import torch._dynamo.utils

    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: compile_(function, backend="eager"))
    monkeypatch.setattr("paa.training.setup.compile_network", lambda *_: None)
    graphs = []
    for steps in (3, 8):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        shared: dict[str, Any] = {"batch_size": 4, "runtime": {"compile": "default"}}
        shared["schedule"] = {"steps": steps, "decays": ()}
        run = train(micro(tmp_path / f"{steps}", **shared, accumulate=2), CPU)
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
        assert list(torch._dynamo.utils.counters["graph_break"]) == []
    assert 2 <= graphs[0] <= 6
    assert graphs[1] == graphs[0]
    eager = train(micro(tmp_path / "eager", **{**shared, "runtime": {}}, accumulate=2), CPU)
    assert run.training is not None
    assert eager.training is not None
    assert run.training["loss"] == pytest.approx(eager.training["loss"], rel=1e-4)
