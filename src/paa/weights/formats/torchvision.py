"""ImageNet backbones of torchvision, from a file of its weights or by name (`torchvision/resnet50`)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchvision.models import get_model_weights

from paa.config import IMAGENET_MEAN, IMAGENET_STD
from paa.errors import CheckpointError, one_line
from paa.model.backbone import RESNETS
from paa.weights.formats.resnets import name_resnet
from paa.weights.state import BackboneWeights, Checkpoint

NAMES = tuple(name for name in RESNETS if name != "resnext152_32x8d")
"""The backbones that torchvision has weights of."""


def recognises(file: Checkpoint) -> bool:
    """Return whether a file has torchvision's names of a ResNet, with or without the classifier."""
    return all(name in file.state for name in ("conv1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight"))


def read(file: Checkpoint) -> BackboneWeights:
    """Return a backbone; images are RGB, scaled by ImageNet's mean and deviation, and strides are in the 3x3."""
    return _backbone(file.state, file.source)


def _backbone(state: Mapping[str, Tensor], source: str) -> BackboneWeights:
    dropped = tuple(name for name in state if name.startswith("fc."))
    tensors = {name: tensor for name, tensor in state.items() if name not in dropped}
    fields = {
        "backbone": name_resnet(tensors),
        "norm_eps": 1e-5,
        "stride_in_1x1": False,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "bgr": False,
    }
    return BackboneWeights(fields, tensors, dropped, source)


def fetch(name: str) -> BackboneWeights:
    """Return torchvision's default weights of a backbone, fetched once and kept in torch's cache.

    name: a backbone, resnet50, or one of its sets of weights, resnet50.IMAGENET1K_V1. CheckpointError if torchvision
    has no weights of that name, or they cannot be fetched.
    """
    architecture, _, chosen = name.partition(".")
    source = f"torchvision/{name}"
    if architecture not in NAMES:
        raise CheckpointError(f"{source}: no such weights; known: {', '.join(NAMES)}")
    sets = get_model_weights(architecture)
    if chosen and chosen not in sets.__members__:
        raise CheckpointError(f"{source}: no such weights; {architecture} has {', '.join(sets.__members__)}")
    member = sets[chosen or "DEFAULT"]
    source = f"torchvision/{architecture}.{member.name}"  # the default changes from version to version
    try:
        state = member.get_state_dict(progress=False, weights_only=True)
    except (OSError, RuntimeError) as error:  # no network, a full disk, a hash that is not the file's
        raise CheckpointError(f"{source}: cannot be fetched ({one_line(error)})") from error
    except Exception as error:  # a damaged file can make torch's reader fail in any way
        raise CheckpointError(
            f"{source}: its file in {torch.hub.get_dir()}/checkpoints is damaged: delete it"
        ) from error
    return _backbone(state, source)
