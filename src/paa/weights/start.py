"""Start a training run from weights: the model that they decide, and the tensors that are copied into it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from paa.config import ModelConfig
from paa.errors import CheckpointError, ConfigError
from paa.model.detector import Detector
from paa.weights.state import BackboneWeights, Weights, load_tensors

_FREE = ("norm", "min_size", "max_size")
"""The fields of `ModelConfig` that a run may choose, whichever detector it starts from."""

_ROWS = ("head.cls_logits.weight", "head.cls_logits.bias")
"""The tensors that have a row for each class."""


def starting_model(
    weights: Weights | BackboneWeights, model: ModelConfig, chosen: Collection[str] = ()
) -> tuple[ModelConfig, dict[str, tuple[Any, Any]]]:
    """Return the model to train, which is `model` with the fields that the weights decide, and the fields that changed.

    A detector decides all fields but the kind of norm and the size of test images; a backbone decides its name and its
    input. chosen: fields that the user named; ConfigError if the weights say otherwise. The changed fields are field ->
    (value in `model`, value in the weights).
    """
    if isinstance(weights, BackboneWeights):
        decided = dict(weights.fields)
    else:
        decided = {name: value for name, value in vars(weights.config).items() if name not in _FREE}
    if model.norm == "batch":
        decided.pop("norm_eps", None)  # an epsilon of 0, as Caffe2's, is for frozen statistics only
    changed = {name: (getattr(model, name), value) for name, value in decided.items() if getattr(model, name) != value}
    contradicted = [f"{name} {changed[name][1]}, not {changed[name][0]}" for name in changed if name in chosen]
    if contradicted:
        raise ConfigError(f"{weights.source}: holds a model with {'; '.join(contradicted)}")
    return dataclasses.replace(model, **decided), changed


def load_start(detector: Detector, weights: Weights | BackboneWeights) -> list[str]:
    """Copy the weights into a detector of `starting_model`; return lines about what was copied and what starts fresh.

    CheckpointError lists tensors that are missing, left over or misshapen.
    """
    if isinstance(weights, BackboneWeights):
        return _load_backbone(detector, weights)
    return _load_detector(detector, weights)


def _load_backbone(detector: Detector, weights: BackboneWeights) -> list[str]:
    own = detector.backbone.state_dict()
    tensors: dict[str, Tensor] = {}
    for name, tensor in weights.tensors.items():
        inside = name.replace(".conv2.weight", ".conv2.conv.weight")
        # a stage made deformable keeps the plain convolution's weights
        tensors[inside if name not in own and inside in own else name] = tensor
    offsets = [name for name in own if ".offset." in name and name not in tensors]
    load_tensors(detector.backbone, tensors, weights.source, fresh=offsets)
    lines = [f"the backbone starts from {weights.source}; the pyramid and the head start fresh"]
    if offsets:
        lines.append(f"the offsets of {len(offsets) // 2} deformable convolutions start fresh (at zero)")
    if weights.dropped:
        lines.append(f"left out, as detectors do not have them: {', '.join(weights.dropped[:4])}")
    return lines


def _load_detector(detector: Detector, weights: Weights) -> list[str]:
    source = weights.source
    theirs = weights.class_names()
    if theirs is None:
        if weights.num_classes != len(detector.names):
            raise CheckpointError(
                f"{source}: has {weights.num_classes} classes without names, the data set has {len(detector.names)}: "
                "name the file's classes with paa convert --names"
            )
        theirs = detector.names
    position = {name: row for row, name in enumerate(theirs)}
    taken = [row for row, name in enumerate(detector.names) if name in position]
    rows = torch.tensor([position[detector.names[row]] for row in taken], dtype=torch.int64)
    tensors = dict(weights.tensors)
    own = detector.state_dict()
    for name in _ROWS:
        given = tensors.get(name)
        if not isinstance(given, Tensor):  # load_tensors raises an error
            continue
        expected = (len(theirs), *own[name].shape[1:])
        if given.shape != expected:
            raise CheckpointError(f"{source}: {name} has the shape {tuple(given.shape)}, expected {expected}")
        fresh = own[name].clone()
        fresh[taken] = given[rows].to(fresh.dtype)
        tensors[name] = fresh
    load_tensors(detector, tensors, source)
    lines = [f"the whole detector starts from {source}"]
    new = [name for name in detector.names if name not in position]
    if new:
        lines.append(
            f"except {len(new)} of {len(detector.names)} classes, whose rows of {' and '.join(_ROWS)} start fresh: "
            f"{', '.join(new[:10])}{', ...' if len(new) > 10 else ''}"
        )
    gone = len(theirs) - len(taken)
    if gone:
        lines.append(f"{gone} of its classes are not in the data set, and are dropped")
    return lines
