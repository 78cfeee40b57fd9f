"""A teacher's predictions decide the assignment, the student's losses are its own, and a run keeps to its teacher."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import paa
from paa.assigners import TaskAlignedAssigner
from paa.commands.main import parse
from paa.commands.train import Train
from paa.config import ModelConfig
from paa.core import Assignment, PaaAssigner, assign, paa_losses
from paa.data.batch import Batch
from paa.data.shapes import NAMES
from paa.errors import CheckpointError, ConfigError
from paa.model.detector import Detector
from paa.training.records import TrainResult, ignore
from paa.training.run_folder import save_checkpoint
from paa.training.settings import TrainConfig
from paa.training.setup import set_up
from paa.training.step import train_step
from paa.training.teacher import Teacher
from paa.training.train import train
from paa.weights.formats import own
from tests.conftest import MODEL
from tests.training.runs import CPU, NEVER, KilledError, Micro, differences, kill_at, load, read_log, timeless


def taught(config: TrainConfig, teacher: Path | None, **recipe: Any) -> TrainConfig:
    given = None if teacher is None else str(teacher)
    return replace(config, recipe=replace(config.recipe, teacher=given, **recipe))


def save(path: Path, names: tuple[str, ...] = NAMES, seed: int = 1, **changes: Any) -> Path:
    """Write a detector that detects a lot, if little of it right."""
    torch.manual_seed(seed)
    detector = Detector(ModelConfig(**vars(MODEL) | changes), names)
    torch.nn.init.normal_(detector.head.cls_logits.weight, std=0.3)
    torch.nn.init.normal_(detector.head.deltas.weight, std=0.05)
    torch.nn.init.constant_(detector.head.cls_logits.bias, -1)
    save_checkpoint(path, own.write(detector.config, detector.names, detector.state_dict()))
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another detector than `checkpoint`, with another backbone's width of the pyramid."""
    return save(tmp_path_factory.mktemp("teacher") / "teacher.pt", channels=24)


def first_step(config: TrainConfig) -> tuple[list[Assignment], dict[str, torch.Tensor], list[Batch], Teacher | None]:
    """Return the assignments of a run's first step, its losses, its batches, and its teacher."""
    seen: list[Assignment] = []

    def watched(*arguments: Any, **options: Any) -> Any:
        result = paa_losses(*arguments, **options)
        seen.append(result.assignment)
        return result

    with set_up(config, CPU, ignore, NEVER) as run:
        parts = [batch for batch, _ in zip(run.loader, range(config.accumulate))]
        losses = train_step(replace(run, losses=watched), parts).losses
        return seen, losses, parts, run.teacher


def test_a_teacher_equal_to_the_student_changes_nothing(tmp_path: Path, micro: Micro, checkpoint: Path) -> None:
    shared: dict[str, Any] = {"init": str(checkpoint), "batch_size": 4}
    (alone,), losses, _, none = first_step(micro(tmp_path / "alone", **shared))
    (same,), others, _, _ = first_step(taught(micro(tmp_path / "same", **shared), checkpoint))
    assert none is None
    assert alone.num_positives.sum() > 0
    assert torch.equal(alone.objects(2000), same.objects(2000))
    assert {name: float(loss) for name, loss in losses.items()} == pytest.approx(
        {name: float(loss) for name, loss in others.items()}, rel=1e-6
    )


@pytest.mark.parametrize("rule", ["paa", "task-aligned"])
def test_the_assignment_is_the_teachers(
    tmp_path: Path, micro: Micro, checkpoint: Path, teacher: Path, rule: Any
) -> None:
    """It is what `assign` says of the teacher's outputs, in both passes of a step in parts, and another one."""
    config = micro(tmp_path / "run", init=str(checkpoint), batch_size=4, accumulate=2)
    seen, _, parts, used = first_step(taught(config, teacher, assigner=rule))
    assert used is not None
    assert not used.detector.training
    assert not any(parameter.requires_grad for parameter in used.detector.parameters())
    assert len(seen) == 4
    model = paa.load(teacher, "cpu")
    assigner = {"paa": PaaAssigner(), "task-aligned": TaskAlignedAssigner()}[rule]
    for number, assignment in enumerate(seen):
        part = parts[number % 2]
        with torch.no_grad():
            outputs = model(part.images, part.sizes)
        anchors = model.anchors(outputs)
        wanted = assign(outputs, anchors, part.gt_boxes, part.gt_labels, assigner=assigner)
        assert torch.equal(assignment.objects(len(anchors)), wanted.objects(len(anchors)))
        torch.testing.assert_close(assignment.loss_weights(), wanted.loss_weights())
    plain, *_ = first_step(micro(tmp_path / "plain", init=str(checkpoint), batch_size=4, accumulate=2))
    assert not torch.equal(plain[0].objects(2000), seen[0].objects(2000))


def test_classes_are_found_by_their_names(tmp_path: Path, micro: Micro, teacher: Path) -> None:
    """A teacher whose classes are in another order gives the same assignments."""
    content = load(teacher)
    order = [2, 0, 3, 1]
    content["names"] = [content["names"][i] for i in order]
    for name in ("head.cls_logits.weight", "head.cls_logits.bias"):
        content["model"][name] = content["model"][name][order]
    save_checkpoint(tmp_path / "reordered.pt", content)
    one, two = (
        first_step(taught(micro(tmp_path / path.stem, batch_size=4), path))[0][0]
        for path in (teacher, tmp_path / "reordered.pt")
    )
    assert torch.equal(one.objects(2000), two.objects(2000))


def with_levels_cut(model: Detector) -> None:
    model.fpn.register_forward_hook(lambda module, given, levels: levels[:-1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anchor_scale": 4.0}, r"anchor_scale 4.0, not 8.0: give --model.anchor-scale 4.0"),
        (
            {"legacy": True, "anchor_offset": 0.0},
            r"offset 0.0, not 0.5, legacy True, not False: give --model.anchor-offset 0.0 --model.legacy$",
        ),
        ({"names": ("circle", "square", "star")}, "lacks 'triangle'$"),
        ({"names": (*NAMES[1:], "ring")}, "lacks 'circle' and also knows 'ring'$"),
    ],
)
def test_a_teacher_that_does_not_fit(tmp_path: Path, micro: Micro, changes: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "teacher.pt", **changes)
    with pytest.raises(ConfigError, match=message) as error:
        train(taught(micro(tmp_path / "run"), path), CPU)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_other_levels_are_refused(tmp_path: Path, micro: Micro, teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of a model whose pyramid has another number of levels."""
    outputs = Detector.forward
    cut = lambda self, *given: outputs(self, *given)._replace(level_sizes=((4, 4),))  # noqa: E731
    monkeypatch.setattr(Detector, "forward", lambda self, *given: (cut if self.training else outputs)(self, *given))
    monkeypatch.setattr("paa.training.teacher.load_start", lambda detector, weights: with_levels_cut(detector))
    with pytest.raises(ConfigError, match=r"its levels are others: 4, of \(4, 4\) cells .* not 5, of \(4, 4\)$"):
        train(taught(micro(tmp_path / "run"), teacher), CPU)


def test_a_missing_teacher(tmp_path: Path, micro: Micro) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.pt"):
        train(taught(micro(tmp_path / "run"), tmp_path / "nowhere.pt"), CPU)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, micro: Micro, teacher: Path) -> TrainResult:
    """A run with a teacher that was never stopped, deterministic and in bfloat16."""
    return train(long_run(micro, tmp_path_factory.mktemp("taught") / "whole", teacher), CPU)


def long_run(micro: Micro, output: Path, teacher: Path) -> TrainConfig:
    runtime = {"precision": "bfloat16", "deterministic": True, "checkpoint_interval": 2}
    return taught(micro(output, runtime=runtime, model={"norm": "batch"}), teacher)


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, micro: Micro, whole: TrainResult, teacher: Path) -> None:
    """Also where the teacher's file was moved; another teacher, or none, is refused."""
    config = long_run(micro, tmp_path / "run", teacher)
    with pytest.raises(KilledError):
        train(config, CPU, kill_at(3))
    for other in (save(tmp_path / "other.pt", seed=2), None):
        with pytest.raises(ConfigError, match=r"last\.pt: its run had teacher SHA-256 \w{16}, not (SHA|None)"):
            train(replace(taught(config, other), resume="last"), CPU)
    moved = tmp_path / "moved.pt"
    moved.write_bytes(teacher.read_bytes())
    resumed = train(replace(taught(config, moved), resume="last"), CPU)
    assert differences(load(whole.last)["model"], load(resumed.last)["model"]) == []
    assert timeless(read_log(whole.log)) == timeless(read_log(resumed.log))


def test_what_a_run_says_of_its_teacher(whole: TrainResult, teacher: Path) -> None:
    card = (whole.folder / "README.md").read_text()
    assert "- Teacher: the predictions of `teacher.pt` decided which anchors are positive" in card
    assert str(teacher.parent) not in card
    for file in ("config.json", "recipe.json"):
        content = json.loads((whole.folder / file).read_text())
        assert content.get("recipe", content)["teacher"] == str(teacher)


def test_the_option_and_the_argument(
    tmp_path: Path, shapes: Path, teacher: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = parse(["train", "--data", "x", "--recipe", "r18_nano", "--teacher", "big.pt"])
    assert isinstance(command, Train)
    assert command._config().recipe.teacher == "big.pt"
    with caplog.at_level(logging.WARNING, "paa"):
        result = paa.train(
            shapes,
            "r18_nano",
            output=tmp_path / "run",
            teacher=teacher,
            assigner="atss",
            steps=1,
            batch_size=2,
            device="cpu",
            model=vars(MODEL),
            augment={"min_sizes": (64,), "max_size": 96},
            validation={"batch_size": 0},
            runtime={"workers": 0},
        )
    assert "teacher has no effect: the rule atss looks at no predictions" in caplog.text
    again = parse(["train", "--data", "x", "--recipe", str(result.folder / "recipe.json")])
    assert isinstance(again, Train)
    assert again._config().recipe.teacher == str(teacher)
