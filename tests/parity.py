"""Does this project compute what the reference implementations compute? Every golden file, by golden/README.md's rules.

`python -m tests.parity DIR [MODE]` prints a line per file and exits 1 if one fails or none was found. MODE is how
models are computed: plain (torch's convolutions, contiguous), fast (as `paa train` and `paa.load` have it on CPUs),
folded (as `model.optimise("float32")` has it; not for training) or traced (by torch.compile, without a graph break).
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paa.config import InferenceConfig, ScheduleConfig
from paa.core.anchors import make_anchors
from paa.core.assignment import candidates_per_object, match
from paa.core.losses import paa_losses
from paa.core.merging import merge_views
from paa.core.outputs import HeadOutputs
from paa.core.postprocess import DetectedBatch, detect
from paa.model.detector import PADDING, Detector
from paa.model.prepare import prepare_for_device
from paa.training.optimizer import make_optimizer, set_lr
from paa.training.schedule import Schedule
from paa.weights.formats import mmdet, seed
from paa.weights.read import build
from paa.weights.state import Checkpoint

LOSS_TOLERANCE = 1e-4
SCORE_TOLERANCE = 1e-4
BOX_TOLERANCE = 0.05
FEATURE_TOLERANCE = 1e-4
"""Of features and head outputs, relative to the largest value of the tensor."""
CLOSE_SCORES = 1e-5
ALLOWED_SHARE = 1e-3


@dataclass
class Report:
    """What one golden file gave: named deviations, each with the most that is allowed."""

    name: str
    figures: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, name: str, deviation: float, allowed: float) -> None:
        """Keep the worst deviation under this name; NaN is the worst there is."""
        worst = self.figures.get(name, (0.0, allowed))[0]
        deviation = float("inf") if np.isnan(deviation) else float(deviation)
        self.figures[name] = (max(worst, deviation), allowed)

    @property
    def passed(self) -> bool:
        """Whether something was compared, and nothing deviates by more than is allowed."""
        return bool(self.figures) and all(worst <= allowed for worst, allowed in self.figures.values())

    def line(self) -> str:
        """The report in one line."""
        figures = ", ".join(f"{name} {worst:.2g} (<= {allowed:g})" for name, (worst, allowed) in self.figures.items())
        return f"{'ok  ' if self.passed else 'FAIL'} {self.name}: {figures or 'nothing compared'}"


Golden = Mapping[str, np.ndarray[Any, Any]]


def read_targets(golden: Golden) -> tuple[Tensor, Tensor]:
    """Return the ground truth of two images as gt_boxes (2, G, 4), continuous, and gt_labels (2, G)."""
    most = max(len(golden[f"gt_labels_{i}"]) for i in range(2))
    boxes, labels = torch.zeros(2, most, 4), torch.full((2, most), -1)
    for i in range(2):
        n = len(golden[f"gt_labels_{i}"])
        boxes[i, :n] = torch.from_numpy(golden[f"gt_boxes_{i}"] + np.float32([0, 0, 1, 1]))
        labels[i, :n] = torch.from_numpy(golden[f"gt_labels_{i}"]) - 1
    return boxes, labels


def read_images(golden: Golden) -> tuple[Tensor, Tensor]:
    """Return the padded batch (2, 3, H, W) of the two images, and their sizes (2, 2)."""
    images = [torch.from_numpy(golden[f"image_{i}"]).permute(2, 0, 1) for i in range(2)]
    height, width = (-(-max(p.shape[d] for p in images) // PADDING) * PADDING for d in (1, 2))
    batch = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    for canvas, image in zip(batch, images):
        canvas[:, : image.shape[1], : image.shape[2]] = image
    return batch, torch.tensor([p.shape[1:] for p in images])


def compare_detections(report: Report, golden: Golden, kind: str, detected: DetectedBatch, legacy: bool) -> None:
    """Compare boxes, scores and labels with the golden `plain_*` or `voted_*` ones."""
    for i in range(2):
        valid_slots = detected.labels[i] >= 0
        labels = detected.labels[i][valid_slots].numpy() + (1 if legacy else 0)
        expected = golden[f"{kind}_labels_{i}"]
        report.add(f"{kind} labels", 0 if np.array_equal(labels, expected) else float("inf"), 0)
        if len(labels) != len(expected) or not len(labels):
            continue
        boxes = detected.boxes[i][valid_slots].numpy() - np.float32([0, 0, 1, 1] if legacy else [0, 0, 0, 0])
        scores = detected.scores[i][valid_slots].numpy()
        report.add(f"{kind} boxes", np.abs(boxes - golden[f"{kind}_boxes_{i}"]).max(), BOX_TOLERANCE)
        report.add(f"{kind} scores", np.abs(scores - golden[f"{kind}_scores_{i}"]).max(), SCORE_TOLERANCE)


def check_head(report: Report, golden: Golden) -> None:
    """The assignment, the losses and the post-processing, from given head outputs."""
    levels = range(5)

    def flat(name: str) -> Tensor:
        maps = [torch.from_numpy(golden[f"{name}_{j}"].astype(np.float32)) for j in levels]
        return torch.cat([m.permute(0, 2, 3, 1).flatten(1, 2) for m in maps], 1)

    sizes = tuple((golden[f"cls_{j}"].shape[2], golden[f"cls_{j}"].shape[3]) for j in levels)
    outputs = HeadOutputs(flat("cls"), flat("box"), flat("iou")[..., 0], sizes)
    anchors = make_anchors(sizes, shift=0.5)
    gt_boxes, gt_labels = read_targets(golden)
    result = paa_losses(outputs, anchors, gt_boxes, gt_labels, legacy=True)
    report.add("matches", float((match(anchors, gt_boxes, gt_labels).numpy() != golden["match"]).sum()), 0)
    ours = result.assignment.objects(len(anchors)).numpy()
    differs = ours != golden["assigned"]
    depends = _depend_on_close_scores(golden, outputs.level_starts(), gt_labels.shape[1])
    report.add("assignments", float((differs & ~depends).sum()), 0)
    report.add("close calls", float((differs & depends).sum()), ALLOWED_SHARE * (golden["assigned"] >= 0).sum())
    losses = np.array([v.item() for v in result.losses.values()])
    report.add("losses", np.abs(losses / golden["losses"] - 1).max(), LOSS_TOLERANCE)
    valid = torch.from_numpy(golden["valid_sizes"]).flip(1)
    for kind, voting in (("plain", False), ("voted", True)):
        compare_detections(
            report, golden, kind, detect(outputs, anchors, valid, voting=voting, legacy=True), legacy=True
        )


def _depend_on_close_scores(golden: Golden, level_starts: list[int], num_objects: int) -> np.ndarray[Any, Any]:
    """Return (2, N): anchors of objects whose candidates' order depends on scores closer than CLOSE_SCORES."""
    matches = torch.from_numpy(golden["match"].astype(np.int64))
    scores = torch.from_numpy(np.nan_to_num(golden["score"]))
    _, best, _ = candidates_per_object(scores, matches, num_objects, level_starts, per_level=10)
    close = ((best[..., 1:] - best[..., :-1]) < CLOSE_SCORES).any(-1)
    return ((matches >= 0) & close.gather(1, matches.clamp(min=0))).numpy()


def seed_model(directory: Path, name: str) -> Detector:
    """Build one of the seed's models with weights from their names, through the reader of the seed's format."""
    shapes = json.loads((directory / "seed_state_dicts.json").read_text())[name]
    return build(seed.read(Checkpoint(name, filled(directory, shapes))), name, Detector)


def filled(directory: Path, shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """Return a state dict made by golden/fill.py."""
    spec = importlib.util.spec_from_file_location("fill", directory / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: torch.from_numpy(np.asarray(module.fill(name, shape))) for name, shape in shapes.items()}


def check_model(report: Report, golden: Golden, model: Detector) -> None:
    """Features, head outputs and detections of a whole model."""
    images, sizes = read_images(golden)
    with torch.inference_mode():
        features = model.fpn(model.backbone(model.normalise(images, sizes)))
        outputs = model(images, sizes)
    starts = outputs.level_starts()
    for j, (height, width) in enumerate(outputs.level_sizes):
        _compare_map(report, "features", features[j][:, :4], golden[f"feature_{j}_slice"])
        for name, tensor, key in (
            ("classes", outputs.cls_logits[..., :3], f"cls_{j}_slice"),
            ("deltas", outputs.deltas, f"box_{j}"),
            ("iou logits", outputs.iou_logits[..., None], f"iou_{j}"),
        ):
            level = tensor[:, starts[j] : starts[j + 1]].unflatten(1, (height, width)).permute(0, 3, 1, 2)
            _compare_map(report, name, level, golden[key])
    legacy = model.config.legacy
    for kind, voting in (("plain", False), ("voted", True)):
        if legacy:  # of MMDetection's models, only features and head outputs must agree
            compare_detections(
                report, golden, kind, model.detect(images, sizes, InferenceConfig(voting=voting)), legacy
            )


def _compare_map(report: Report, name: str, ours: Tensor, theirs: np.ndarray[Any, Any]) -> None:
    report.add(name, np.abs(ours.numpy() - theirs).max() / np.abs(theirs).max(), FEATURE_TOLERANCE)


def check_training(report: Report, golden: Golden, model: Detector) -> None:
    """Ten optimizer steps on one batch."""
    images, sizes = read_images(golden)
    gt_boxes, gt_labels = read_targets(golden)
    model.train().freeze(2)
    optimizer = make_optimizer(model, ScheduleConfig(lr=0.001))
    schedule = Schedule(10, (7, 9), 0.001, 4, 1 / 3, "constant", "step")
    for step in range(10):
        set_lr(optimizer, schedule.lr_at(step))
        outputs = model(images, sizes)
        losses = paa_losses(outputs, model.anchors(outputs), gt_boxes, gt_labels, legacy=True).losses
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        deviation = np.abs(np.array([v.item() for v in losses.values()]) / golden["losses"][step] - 1).max()
        early = step < 5
        report.add("losses 1-5" if early else "losses 6-10", deviation, 1e-3 if early else 3e-2)
        report.add("rates", abs(schedule.lr_at(step) / golden["lrs"][step] - 1), 1e-6)
    state = model.state_dict()
    for name, expected in zip(golden["probe_names"], golden["probe_abs_sums"]):
        level = str(name).removeprefix("head.scales.").removesuffix(".scale")
        tensor = state["head.scales"][int(level)] if level.isdigit() else state[seed.rename(str(name))]
        report.add("weights after", abs(tensor.double().abs().sum().item() / expected - 1), 1e-3)


def check_multi_scale(report: Report, golden: Golden) -> None:
    """Boxes of one class merged by `vote` and by `soft-vote`."""
    for k in range(sum(name.startswith("boxes_") for name in golden)):
        boxes = torch.from_numpy(golden[f"boxes_{k}"] + np.float32([0, 0, 1, 1]))
        scores = torch.from_numpy(golden[f"scores_{k}"])
        labels = torch.zeros(len(scores), dtype=torch.int64)
        for kind in ("vote", "soft"):
            # the official functions give nothing for a single box, which their caller then keeps
            given = "" if len(scores) == 1 else f"{kind}_"
            expected = golden[f"{given}boxes_{k}"], golden[f"{given}scores_{k}"]
            merged, merged_scores, _ = merge_views(boxes, scores, labels, soft=kind == "soft")
            report.add(f"{kind} count", abs(len(merged) - len(expected[0])), 0)
            if len(merged) == len(expected[0]):
                deviation = np.abs(merged.numpy() - np.float32([0, 0, 1, 1]) - expected[0]).max()
                report.add(f"{kind} boxes", deviation, BOX_TOLERANCE)
                report.add(f"{kind} scores", np.abs(merged_scores.numpy() - expected[1]).max(), SCORE_TOLERANCE)


def plain(model: Detector) -> Detector:
    """Return the model as it is."""
    return model


def fast(model: Detector) -> Detector:
    """Return the model arranged for a CPU."""
    prepare_for_device(model, channels_last=True, fast_convolutions=True)
    return model


def folded(model: Detector) -> Detector:
    """Return the model with batch norm in its weights, and arranged for a CPU."""
    model.eval().backbone.fold()
    return fast(model)


def traced(model: Detector) -> Detector:
    """Return the model traced by torch.compile, without the code that it would make."""
    model.compile(fullgraph=True, backend="aot_eager")
    return model


MODES: dict[str, Callable[[Detector], Detector]] = {mode.__name__: mode for mode in (plain, fast, folded, traced)}


def check_file(path: Path, mode: str = "plain") -> Report:
    """Check one golden file, by what its name says it holds, with models computed in one of the `MODES`."""
    report, directory, made = Report(path.name), path.parent, MODES[mode]
    kinds: dict[str, Callable[[Golden], None]] = {
        "head_": lambda golden: check_head(report, golden),
        "model_": lambda golden: check_model(
            report, golden, made(seed_model(directory, path.stem.removeprefix("model_")))
        ),
        "train_": lambda golden: check_training(
            report, golden, made(seed_model(directory, path.stem.removeprefix("train_")))
        ),
        "mmdet_": lambda golden: check_model(report, golden, made(_mmdet_model(directory))),
        "multi_scale_": lambda golden: check_multi_scale(report, golden),
    }
    with np.load(path) as golden:
        for prefix, check in kinds.items():
            if path.name.startswith(prefix):
                check(dict(golden))
    return report


def _mmdet_model(directory: Path) -> Detector:
    shapes = json.loads((directory / "mmdet_state_dict.json").read_text())
    return build(mmdet.read(Checkpoint("mmdet_r50", filled(directory, shapes))), "mmdet_r50", Detector)


def golden_files(directory: Path) -> list[Path]:
    """Return the golden files in a folder; one of an unknown kind fails, as nothing in it is compared."""
    return sorted(directory.glob("*.npz"))


def main(arguments: list[str]) -> int:
    """Check the folder named on the command line; return the exit code."""
    if len(arguments) not in (1, 2) or not set(arguments[1:]) <= set(MODES):
        print(f"usage: python -m tests.parity DIR [{'|'.join(MODES)}]", file=sys.stderr)
        return 2
    files = golden_files(Path(arguments[0]))
    if not files:
        print(f"{arguments[0]}: no golden files found", file=sys.stderr)
        return 1
    reports = []
    for path in files:
        reports.append(check_file(path, *arguments[1:]))
        print(reports[-1].line(), flush=True)
    failed = sum(not report.passed for report in reports)
    print(f"{len(reports) - failed} of {len(reports)} golden files pass")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
