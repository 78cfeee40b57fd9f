"""Any file of weights -> what it says -> a detector: the format is found out from the file itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from paa.config import WeightsFormat
from paa.errors import CheckpointError, ConfigError, one_line
from paa.model.detector import Detector
from paa.weights.files import FileContent, read_file
from paa.weights.foreign import describe_values
from paa.weights.formats import caffe2, mmdet, official, own, seed
from paa.weights.formats import timm as timm_models
from paa.weights.formats import torchvision as torchvision_models
from paa.weights.state import BackboneWeights, Weights, check_fit, load_tensors

D = TypeVar("D", bound=Detector)

_STATES = ("model", "state_dict", "model_state_dict")


def read_weights(path: Path, format: WeightsFormat | None = None) -> Weights:
    """Read a detector of any implementation; CheckpointError names what is wrong with the file.

    format: found out from the file, unless it is named.
    """
    weights = _interpret(path, read_file(path), format, "")
    if isinstance(weights, BackboneWeights):
        raise CheckpointError(
            f"{path}: a backbone alone ({weights.fields['backbone']}); paa train --init starts a detector from it"
        )
    return weights


def read_start(given: str, backbone: str, format: WeightsFormat | None = None) -> Weights | BackboneWeights:
    """Read what a training run starts from: a file of a detector or a backbone, or `torchvision/NAME`, `timm/NAME`.

    backbone: of the model asked for; where that is timm's, a file that is no detector's is taken as timm's weights.
    """
    library, _, name = given.partition("/")
    if name and not Path(given).exists():
        if library == "torchvision":
            return torchvision_models.fetch(name)
        if library == "timm":
            return timm_models.fetch(name)
    path = Path(given)
    timm_name = backbone.removeprefix("timm/") if backbone.startswith("timm/") else ""
    return _interpret(path, read_file(path), format, timm_name)


def _interpret(
    path: Path, content: FileContent, format: WeightsFormat | None, timm_name: str
) -> Weights | BackboneWeights:
    """Return what a file's content says; timm_name: the model that it is of if it is no detector's."""
    values, metadata, source = content.values, content.metadata, str(path)
    state = unwrapped(values)
    # detectors first; timm's ResNets have torchvision's names, so the model that the user named decides between them
    readers: dict[WeightsFormat, tuple[bool, Callable[[], Weights | BackboneWeights]]] = {
        "paa": (own.recognises(values, metadata), lambda: own.read(values, metadata)),
        "seed": (seed.recognises(state), lambda: seed.read(state)),
        "official": (official.recognises(state), lambda: official.read(state, values)),
        "mmdet": (mmdet.recognises(state), lambda: mmdet.read(state, values)),
        "timm": (bool(timm_name), lambda: timm_models.read(state, timm_name, source)),
        "caffe2": (caffe2.recognises(values), lambda: caffe2.read(values, source)),
        "torchvision": (torchvision_models.recognises(state), lambda: torchvision_models.read(state, source)),
    }
    read = next((read for name, (found, read) in readers.items() if found and format in (None, name)), None)
    if read is None:
        if format:
            hint = "; for timm's name the model too: --model.backbone timm/NAME" if format == "timm" else ""
            raise CheckpointError(f"{path}: not of the format {format}{hint}")
        raise CheckpointError(f"{path}: of none of the known formats{_described(values, state, list(readers))}")
    try:
        weights = read()
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"{path}: incomplete checkpoint ({type(error).__name__}: {one_line(error)})") from error
    if isinstance(weights, Weights):
        return weights._replace(provenance={"file": path.name, **weights.provenance}, source=source)
    return weights


def _described(values: Mapping[str, Any], state: Mapping[str, Any], formats: list[WeightsFormat]) -> str:
    """Return what a checkpoint of no known format is, as the end of a sentence."""
    known = describe_values(values, state)
    if known is not None:
        return f": {known}"
    first = ", ".join(str(name) for name in list(state)[:2])[:80]
    return (
        f" ({', '.join(formats)}): a state dict of {len(state)} tensors ({first}, ...); "
        "for timm's name the model too: --model.backbone timm/NAME"
    )


def unwrapped(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the state dict that training programs keep under one of `_STATES`, without DDP's `module.`."""
    state = next((values[key] for key in _STATES if isinstance(values.get(key), Mapping)), values)
    if all(str(name).startswith("module.") for name in state):
        return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def build(weights: Weights, source: str, kind: type[D]) -> D:
    """Build the detector (a `Detector` or a subclass) that the weights are of, in evaluation mode on the CPU.

    CheckpointError if a tensor is missing, left over or misshapen, or there is no such model.
    """
    names = weights.class_names() or tuple(f"class {label}" for label in range(weights.num_classes))
    try:
        with torch.device("meta"):  # a file must not make us allocate a model that its tensors do not fill
            check_fit(Detector(weights.config, names).state_dict(), weights.tensors, source)
        detector = kind(weights.config, names)
    except (ConfigError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{source}: no model can be built from its configuration ({error})") from error
    load_tensors(detector, weights.tensors, source)
    return detector.eval()
