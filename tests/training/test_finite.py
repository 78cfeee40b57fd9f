"""A step whose loss or gradient is infinite or NaN is skipped and kept; too many in a row stop the run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from paa.config import ModelConfig, ScheduleConfig
from paa.data.batch import Batch
from paa.errors import RunError
from paa.model.detector import Detector
from paa.training import setup
from paa.training import train as engine
from paa.training.finite import FiniteCheck
from paa.training.optimizer import make_optimizer, step_if
from paa.training.records import Record
from paa.training.run import Run
from paa.training.run_folder import RunFolder
from paa.training.statistics import Statistics
from paa.training.train import train
from tests.training.runs import CPU, KilledError, Micro, differences, kill_at, load, read_log, timeless


def detector(**options: Any) -> Detector:
    return Detector(ModelConfig(backbone="resnet18", channels=16, tower_depth=0, **options), ("a",))


def check(folder: Path) -> FiniteCheck:
    """Return a check of weights alone, which has no step to name the images of."""
    nothing: Any = SimpleNamespace()
    return FiniteCheck(nothing, CPU, nothing, RunFolder(folder), 0)


def test_weights_are_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the trained detector, and of the average too where that is evaluated."""
    trained, average = detector(), detector()
    looked: list[int] = []
    real = torch.Tensor.isfinite
    monkeypatch.setattr(torch.Tensor, "isfinite", lambda tensor: looked.append(id(tensor)) or real(tensor))
    check(tmp_path).before_saving(1, trained, trained)
    count = len(trained.state_dict())
    assert len(looked) == count
    check(tmp_path).before_saving(1, trained, average)
    assert len(looked) == 3 * count


def test_the_last_checkpoint_is_named_if_there_is_one(tmp_path: Path) -> None:
    spoilt, whole = detector(), detector()
    with torch.no_grad():
        spoilt.fpn.p6.weight[0, 0] = math.nan
    for detectors in ((spoilt, spoilt), (whole, spoilt)):
        with pytest.raises(
            RunError, match=r"^step 7 left fpn\.p6\.weight infinite or NaN\. No checkpoint was saved before;"
        ):
            check(tmp_path).before_saving(7, *detectors)
    last = tmp_path / "last.pt"
    last.write_bytes(b"")
    says = r"a lower learning rate \(schedule\.lr\) or clipped gradients \(schedule\.clip_norm\) may help"
    with pytest.raises(RunError, match=rf"infinite or NaN\. {last} is from an earlier step; {says}$"):
        check(tmp_path).before_saving(7, spoilt, spoilt)


def spoil(monkeypatch: pytest.MonkeyPatch, steps: Collection[int], value: float, first: int = 0) -> None:
    """Let the box loss of some steps, counted from 0, be `value`; first: the step that the run begins with."""
    real, calls = setup.paa_losses, iter(range(first, 1000))

    def losses(*given: Any, **options: Any) -> Any:
        result = real(*given, **options)
        if next(calls) in steps:
            result.losses["box"] = result.losses["box"] * value
        return result

    monkeypatch.setattr(setup, "paa_losses", losses)


def before_step(monkeypatch: pytest.MonkeyPatch, step: int, change: Callable[[Run], object]) -> None:
    """Call a function before a step, counted from 0."""
    real = engine.train_step

    def train_step(run: Run, parts: Sequence[Batch]) -> Any:
        if run.state.step == step:
            change(run)
        return real(run, parts)

    monkeypatch.setattr(engine, "train_step", train_step)


def tensors_of(run: Run) -> dict[str, Tensor]:
    """Return copies of all that a skipped step must leave as it is."""
    state, average = run.state, run.state.average
    found = {f"weights/{name}": tensor for name, tensor in state.detector.state_dict().items()}
    if average is not None:
        found |= {f"average/{name}": tensor for name, tensor in average.detector.state_dict().items()}
    for number, values in enumerate(state.optimizer.state.values()):
        found |= {f"optimizer/{number}/{name}": tensor for name, tensor in values.items()}
    return {name: tensor.clone() for name, tensor in found.items()}


@pytest.mark.parametrize(("optimizer", "bad"), [("sgd", 0), ("adamw", 2)])
def test_a_bad_step_leaves_everything_as_it_is(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, optimizer: str, bad: int
) -> None:
    """Weights, statistics, average and optimizer; in the first step the optimizer has no state yet."""
    seen: list[dict[str, Tensor]] = []
    spoil(monkeypatch, {bad}, math.nan)
    for step in range(5):
        before_step(monkeypatch, step, lambda run: seen.append(tensors_of(run)))
    schedule = {"steps": 5, "optimizer": optimizer, "frozen_stages": 0, "ema": 0.5, "clip_norm": 1.0}
    run = train(micro(tmp_path / "run", model={"norm": "batch"}, schedule=schedule), CPU)
    assert run.bad_steps == 1
    pairs = list(pairwise(seen))
    same = [not differences(a, {name: b[name] for name in a}) for a, b in pairs]
    assert [step for step in range(4) if same[step]] == [bad]
    assert not any(tensor.any() for name, tensor in pairs[bad][1].items() if name not in pairs[bad][0])
    assert all(bool(tensor.isfinite().all()) for tensor in seen[4].values())
    assert len([name for name in seen[4] if "running_mean" in name]) == 40


def test_a_gradient_that_is_not_finite(tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the losses are finite, and in a gradient that is not looked at first."""

    def spoil_gradient(run: Run) -> None:
        parameter = [each for each in run.state.detector.parameters() if each.requires_grad][-1]
        hook = parameter.register_hook(lambda gradient: hook.remove() or gradient * math.inf)

    before_step(monkeypatch, 2, spoil_gradient)
    run = train(micro(tmp_path / "run"), CPU)
    records = read_log(run.log)
    assert [record["bad_steps"] for record in records] == [0, 0, 1, 1]
    assert [record["gradient_norm"] is None for record in records] == [False, False, True, False]
    assert all(record["loss"] is not None for record in records)


def test_it_is_counted_named_and_kept(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    batches: list[tuple[Batch, ...]] = []
    real = Run.steps
    monkeypatch.setattr(Run, "steps", lambda run: (batches.append(parts) or parts for parts in real(run)))
    spoil(monkeypatch, {2, 3}, math.nan)  # parts of a step are computed twice: the second half of the first step's
    config = micro(tmp_path / "run", schedule={"steps": 3}, accumulate=2)
    run = train(config, CPU)
    folder = tmp_path / "run" / "bad_steps"
    assert {path.name for path in folder.iterdir()} == {"step_1.json", "step_1_0.pt"}
    facts = json.loads((folder / "step_1.json").read_text())
    assert facts["box"] == facts["gradient norm"] == "nan"
    assert float(facts["classification"]) > 0
    kept = torch.load(folder / "step_1_0.pt", weights_only=True)
    assert len(kept) == 2
    for part, batch in zip(kept, batches[0], strict=True):
        assert differences(part, vars(batch)) == []
    names = [Path(image).name for image in facts["images"]]
    assert len(names) == 2
    (warned, summed) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned.startswith("loss or gradient of step 1 is not finite (classification ")
    assert warned.endswith(f"; its images: {', '.join(names)}; the step is skipped, and its batch is in {folder}")
    assert summed.startswith("1 step of 3 skipped, as loss or gradient was not finite: the first are in ")
    first, *others = read_log(run.log)
    assert (first["loss"], first["loss_box"], first["bad_steps"]) == (None, None, 1)
    assert [record["bad_steps"] for record in others] == [1, 1]
    assert "NaN" not in run.log.read_text()


def test_what_is_kept_is_bounded(tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paa.training.bad_steps._MOST_BYTES", 1000)
    monkeypatch.setattr("paa.training.finite.KEPT", 2)
    spoil(monkeypatch, {0, 2, 4}, math.inf)  # never two in a row
    run = train(micro(tmp_path / "run", schedule={"steps": 5}, runtime={"max_bad_steps": 1}), CPU)
    assert run.bad_steps == 3
    kept = {path.name for path in (tmp_path / "run" / "bad_steps").iterdir()}
    assert kept == {"step_1.json", "step_3.json"}


def test_too_many_in_a_row(tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint is that of the last step before the first of them that was saved, and the run goes on from it."""
    spoil(monkeypatch, {1, 3, 4, 5, 6}, math.inf)
    runtime = {"checkpoint_interval": 3, "log_interval": 5, "max_bad_steps": 2}
    says = (
        r"^the loss or gradient of step 6 is not finite \(.*\); its images: \d+\.jpg, \d+\.jpg, after 2 steps that had "
        r"to be skipped; the first are in .*run/bad_steps\. "
        rf"{tmp_path / 'run' / 'last.pt'} is from an earlier step; a lower learning rate"
    )
    shared: dict[str, Any] = {"schedule": {"steps": 8}, "runtime": runtime}
    with pytest.raises(RunError, match=says) as caught:
        train(micro(tmp_path / "run", **shared), CPU)
    assert "\n" not in str(caught.value)
    content = load(tmp_path / "run" / "last.pt")
    assert content["training"]["step"] == 3
    assert (content["training"]["bad_steps"], content["training"]["bad_in_a_row"]) == (1, 0)
    (record,) = read_log(tmp_path / "run" / "log.jsonl")
    assert (record["step"], record["bad_steps"]) == (5, 3)


def test_none_may_be_skipped(tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, {3}, math.nan)
    runtime = {"checkpoint_interval": 1, "max_bad_steps": 0}
    with pytest.raises(RunError, match=r"^the loss or gradient of step 4 .* \d+\.jpg; the first are in ") as caught:
        train(micro(tmp_path / "run", runtime=runtime), CPU)
    assert "had to be skipped" not in str(caught.value)
    assert load(tmp_path / "run" / "last.pt")["training"]["step"] == 3


def test_resumed_between_bad_steps(tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, also with what counts steps in a row."""
    bad, saved = {2, 3}, 3
    shared: dict[str, Any] = {
        "model": {"norm": "batch"},
        "schedule": {"steps": 6, "ema": 0.5, "optimizer": "adamw", "frozen_stages": 2},
        "runtime": {"checkpoint_interval": saved, "max_bad_steps": 2},
    }
    spoil(monkeypatch, bad, math.nan)
    whole = train(micro(tmp_path / "whole", **shared), CPU)
    monkeypatch.undo()
    spoil(monkeypatch, bad, math.nan)
    with pytest.raises(KilledError):
        train(micro(tmp_path / "run", **shared), CPU, kill_at(saved + 1))
    monkeypatch.undo()
    spoil(monkeypatch, bad, math.nan, first=saved)
    run = train(micro(tmp_path / "run", resume="last", **shared), CPU)
    assert run.bad_steps == whole.bad_steps == 2
    assert differences(load(run.last), load(whole.last)) == []
    assert timeless(read_log(run.log)) == timeless(read_log(whole.log))


def test_a_run_of_an_earlier_version_is_resumed(tmp_path: Path, micro: Micro) -> None:
    """Its SGD could not skip a step, and its checkpoint counts no bad steps."""
    shared: dict[str, Any] = {"runtime": {"checkpoint_interval": 2}}
    whole = train(micro(tmp_path / "whole", **shared), CPU)
    with pytest.raises(KilledError):
        train(micro(tmp_path / "run", **shared), CPU, kill_at(3))
    last = tmp_path / "run" / "last.pt"
    content = load(last)
    for group in content["training"]["optimizer"]["param_groups"]:
        group["fused"] = None
    del content["training"]["bad_steps"], content["training"]["bad_in_a_row"]
    torch.save(content, last)
    run = train(micro(tmp_path / "run", resume="last", **shared), CPU)
    assert differences(load(run.last), load(whole.last)) == []


def test_momentum_is_that_of_torchs_usual_optimizer() -> None:
    """Also from the first step on, which finds momentum of zeros here and none there."""
    ours, theirs = detector(), detector()
    theirs.load_state_dict(ours.state_dict())
    optimizer = make_optimizer(ours, ScheduleConfig(lr=0.1))
    groups = [{**group, "params": []} for group in optimizer.param_groups]
    named = dict(zip(map(id, ours.parameters()), theirs.parameters()))
    for group, same in zip(optimizer.param_groups, groups):
        same["params"] = [named[id(parameter)] for parameter in group["params"]]
        same["fused"] = None
    usual = torch.optim.SGD(groups, lr=0.1)
    random = torch.Generator().manual_seed(0)
    for _ in range(3):
        for mine, other in zip(ours.parameters(), theirs.parameters()):
            mine.grad = torch.randn(mine.shape, generator=random)
            other.grad = mine.grad.clone()
        step_if(torch.tensor(True), optimizer)
        usual.step()
    for mine, other in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7)


def test_statistics_are_put_back() -> None:
    changed, untrained = detector(norm="batch"), detector(norm="affine")
    statistics = Statistics(changed)
    before = {name: buffer.clone() for name, buffer in changed.named_buffers()}

    def moved() -> list[str]:
        return [name for name, buffer in changed.named_buffers() if not torch.equal(buffer, before[name])]

    def move() -> None:
        for name, buffer in changed.named_buffers():
            buffer.add_(math.nan if "running" in name else 1)

    move()
    statistics.restore(unless=torch.tensor(True))
    assert len(moved()) == len(before) > 60
    statistics.restore(unless=torch.tensor(False))
    assert moved() == []
    move()
    statistics.restore()
    assert moved() == []
    Statistics(untrained).restore(unless=torch.tensor(False))


def test_a_weight_that_is_not_finite_is_not_saved(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = engine.train_step, iter(range(1000))

    def train_step(run: Run, parts: Sequence[Batch]) -> Any:
        result = real(run, parts)
        if next(calls) == 2:
            with torch.no_grad():
                run.state.detector.fpn.p6.weight[0, 0] = math.inf
        return result

    monkeypatch.setattr(engine, "train_step", train_step)
    with pytest.raises(RunError, match=r"step 3 left fpn\.p6\.weight infinite or NaN"):
        train(micro(tmp_path / "run", runtime={"checkpoint_interval": 1}), CPU)
    assert load(tmp_path / "run" / "last.pt")["training"]["step"] == 2


def test_an_average_that_is_not_finite_is_not_saved(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step's infinite weight stays in the average."""
    real, calls = engine.train_step, iter(range(1000))

    def train_step(run: Run, parts: Sequence[Batch]) -> Any:
        call, weight = next(calls), run.state.detector.fpn.p6.weight
        with torch.no_grad():
            weight.nan_to_num_(0, 0, 0)
            result = torch.enable_grad()(real)(run, parts)
            weight[0, 0] = math.inf if call == 1 else 0
        return result

    monkeypatch.setattr(engine, "train_step", train_step)
    shared: dict[str, Any] = {"runtime": {"checkpoint_interval": 3}, "schedule": {"steps": 3}}
    train(micro(tmp_path / "run", **shared), CPU)
    shared["schedule"]["ema"] = 0.9
    calls = iter(range(1000))
    says = r"step 3 left fpn\.p6\.weight infinite or NaN\. No checkpoint was saved before; a lower"
    with pytest.raises(RunError, match=says):
        train(micro(tmp_path / "averaged", **shared), CPU)
    assert not (tmp_path / "averaged" / "last.pt").exists()


def test_the_line_of_a_run_with_bad_steps() -> None:
    from paa.report.progress import training_line

    record: Record = {"step": 3, "steps": 9, "loss": None, "loss_box": None, "loss_iou": 0.25, "lr": 0.1}
    record |= {"images_per_second": 3.0, "seconds_left": 2.0, "bad_steps": 2}
    assert training_line(record) == (
        "step 3/9: loss not finite (box not finite, iou 0.250), lr 0.1, 3.0 images/s, 0:00:02 left, 2 steps skipped"
    )
    assert "skipped" not in training_line({**record, "bad_steps": 0})
