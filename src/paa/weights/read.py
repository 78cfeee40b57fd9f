"""Any checkpoint file -> `Weights` -> a detector: the format is found out from the file itself."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, TypeVar

import torch

from paa.errors import CheckpointError, ConfigError
from paa.model.detector import Detector
from paa.weights import mmdet, own, seed
from paa.weights.coco_names import COCO_NAMES
from paa.weights.state import Weights, load_tensors

D = TypeVar("D", bound=Detector)


def load_file(path: Path) -> dict[str, Any]:
    """Read a `.pth` or `.pt` file without running any code in it; CheckpointError if it is not one."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: no checkpoint, or one that would run code; it was not read") from error
    except Exception as error:  # a damaged file can make the reader fail in any way
        raise CheckpointError(f"{path}: damaged, or no checkpoint ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a checkpoint")
    return content


def read_weights(path: Path) -> Weights:
    """Read a checkpoint of this project, the seed or MMDetection; CheckpointError names what is wrong with it."""
    content = load_file(path)
    try:
        if own.recognises(content):
            return own.read(content)
        if seed.recognises(content):
            return seed.read(content)
        state = content.get("state_dict")
        if isinstance(state, dict) and mmdet.recognises(state):
            meta = content.get("meta") or {}
            return mmdet.read(state, meta.get("CLASSES") or (meta.get("dataset_meta") or {}).get("classes"))
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: incomplete checkpoint ({type(error).__name__}: {error})") from error
    raise CheckpointError(f"{path}: a dictionary of none of the known formats (paa, seed, MMDetection)")


def build(weights: Weights, source: str, kind: type[D]) -> D:
    """Build the detector (a `Detector` or a subclass) that the weights are of, in evaluation mode on the CPU."""
    names = weights.names
    if names is None:
        coco = weights.num_classes == len(COCO_NAMES)
        names = COCO_NAMES if coco else tuple(f"class {label}" for label in range(weights.num_classes))
    try:
        detector = kind(weights.config, names)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{source}: no model can be built from its configuration ({error})") from error
    load_tensors(detector, weights.tensors, source)
    return detector.eval()
