"""Files as PAA_minimal, MMDetection and torchvision leave them, for the pages that say how each is used here."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torchvision
from torch import Tensor

from paa.data.shapes import NAMES
from tests.weights.golden_states import golden_state

_CONFIG = """
model = dict(type='PAA', bbox_head=dict(type='PAAHead', anchor_generator=dict(octave_base_scale=8)))
test_dataloader = dict(dataset=dict(pipeline=[dict(type='Resize', scale=(256, 160), keep_ratio=True)]))
"""
"""What a page says is read of a configuration, and small images, which take less time."""


def write_other_files(folder: Path, val: Path) -> None:
    """Write checkpoints, of COCO's 80 classes and of the shapes' own, and results on a validation set of shapes.

    folder: where the pages' commands run. val: the validation set's COCO file.
    """
    seed, mmdet = golden_state("res50_1x"), golden_state("mmdet")
    files = {
        "weights/res50_1x_116000.pth": seed,
        "weights/shapes_30000.pth": _first_classes(seed, "head.cls_logits", len(NAMES)),
        "work_dirs/shapes/epoch_12.pth": {
            "meta": {"dataset_meta": {"classes": tuple(NAMES)}, "cfg": _CONFIG},
            "state_dict": _first_classes(mmdet, "bbox_head.atss_cls", len(NAMES)),
        },
        "resnet50-11ad3fa6.pth": torchvision.models.resnet50().state_dict(),
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, folder / name)
    for name in ("results/res50_1x_116000.json", "work_dirs/shapes/results.bbox.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(_results(val)))


def _first_classes(state: dict[str, Tensor], layer: str, classes: int) -> dict[str, Tensor]:
    """Return a state dict whose layer of class logits has the rows of the first classes only."""
    rows = {f"{layer}.{part}": state[f"{layer}.{part}"][:classes].clone() for part in ("weight", "bias")}
    return {**state, **rows}


def _results(val: Path) -> list[dict[str, object]]:
    """Return the annotations of a COCO file as results, found with falling scores."""
    annotations = json.loads(val.read_text())["annotations"]
    names = ("image_id", "category_id", "bbox")
    return [{**{name: each[name] for name in names}, "score": 1 / (2 + i)} for i, each in enumerate(annotations)]
