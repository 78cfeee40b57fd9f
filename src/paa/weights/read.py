"""Read weights, from a file or by name, and build their detector: the format is recognised from the file itself."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

import torch

from paa.config import WeightsFormat
from paa.errors import CheckpointError, ConfigError, one_line
from paa.model.detector import Detector
from paa.weights.files import read_file
from paa.weights.formats import caffe2, efficientnet_lite, mmdet, official, own, seed
from paa.weights.formats import timm as timm_models
from paa.weights.formats import torchvision as torchvision_models
from paa.weights.hosted import MODELS, local_file, similar
from paa.weights.state import BackboneWeights, Checkpoint, Weights, check_fit, load_tensors
from paa.weights.unsupported import describe_values

D = TypeVar("D", bound=Detector)


class Format(Protocol):
    """What a module in `formats/` offers; a new one is listed in `FORMATS` and named in `config.WeightsFormat`."""

    def recognises(self, file: Checkpoint) -> bool:
        """Return whether the file is of this format, by its names alone."""

    def read(self, file: Checkpoint) -> Weights | BackboneWeights:
        """Read such a file; ConfigError, KeyError and the like if it contradicts itself or is incomplete."""


FORMATS: dict[WeightsFormat, Format] = {
    "paa": own,
    "seed": seed,
    "official": official,
    "mmdet": mmdet,
    "timm": timm_models,
    "caffe2": caffe2,
    "torchvision": torchvision_models,
}
"""The first format that recognises a file reads it; timm before torchvision, as timm's ResNets have the same names."""

LIBRARIES = {"torchvision": torchvision_models.fetch, "timm": timm_models.fetch}
"""Libraries that give pre-trained backbones by name, such as `torchvision/resnet50`."""


def read_weights(path: Path, format: WeightsFormat | None = None) -> Weights:
    """Read a detector of any implementation; CheckpointError names what is wrong with the file.

    path: a file, or a name of `weights.hosted.MODELS`, as `mmdet/r50_1x`. format: by default recognised from the file.
    """
    weights = _read(path, format)
    if isinstance(weights, BackboneWeights):
        raise CheckpointError(
            f"{path}: a backbone alone ({weights.fields['backbone']}); paa train --init starts a detector from it"
        )
    return weights


def read_start(given: str, backbone: str, format: WeightsFormat | None = None) -> Weights | BackboneWeights:
    """Read what a training run starts from: a file of a detector or a backbone, or either's weights by name.

    The names are those of `weights.hosted.MODELS`, `efficientnet_lite0` (1, 2), `torchvision/NAME` and `timm/NAME`.

    backbone: that of the model to train; if timm/NAME, a file that holds no detector is read as weights of timm's NAME.
    CheckpointError if nothing can be read.
    """
    if given in efficientnet_lite.NAMES and not Path(given).exists():
        return efficientnet_lite.fetch(given)
    library, _, name = given.partition("/")
    if name and library in LIBRARIES and not Path(given).exists():
        return LIBRARIES[library](name)
    if (meant := similar(given, efficientnet_lite.NAMES)) and not Path(given).exists():
        raise CheckpointError(f"{given}: no such file, and no weights of that name; similar: {', '.join(meant)}")
    return _read(Path(given), format, backbone.removeprefix("timm/") if backbone.startswith("timm/") else "")


def is_name(given: str) -> bool:
    """Return whether a text names weights that are no file of a person's; there may be a file at such a path, too."""
    library, slash, _ = given.partition("/")
    return given in MODELS or given in efficientnet_lite.NAMES or (bool(slash) and library in LIBRARIES)


def _read(path: Path, format: WeightsFormat | None, timm_name: str = "") -> Weights | BackboneWeights:
    """Read a file by the first format that recognises it; only `format` is tried, unless it is None.

    path: as for `local_file`; messages have it as it was given.
    """
    file_path = local_file(path)
    content = read_file(file_path)
    file = Checkpoint(str(path), content.values, content.metadata, timm_name)
    allowed = (reader for name, reader in FORMATS.items() if format in (None, name))
    reader = next((reader for reader in allowed if reader.recognises(file)), None)
    if reader is None:
        raise CheckpointError(f"{path}: {_unrecognised(file, format)}")
    try:
        weights = reader.read(file)
    except ConfigError as error:  # in one line, whatever is in the names that the file has
        raise CheckpointError(f"{path}: {one_line(error, 500)}") from error
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"{path}: incomplete checkpoint ({type(error).__name__}: {one_line(error)})") from error
    if isinstance(weights, Weights):
        return weights._replace(provenance={"file": file_path.name, **weights.provenance}, source=file.source)
    return weights


def _unrecognised(file: Checkpoint, format: WeightsFormat | None) -> str:
    """Return a message about a checkpoint that no format recognises: what it may be, and how it might be read."""
    hint = "; for timm's weights name the model too: --model.backbone timm/NAME"
    if format is not None:
        return f"not in the format {format}{hint if format == 'timm' else ''}"
    unsupported = describe_values(file.values, file.state)
    if unsupported is not None:
        return f"in none of the known formats: {unsupported}"
    first = ", ".join(str(name) for name in list(file.state)[:2])[:80]
    known = ", ".join(FORMATS)
    return f"in none of the known formats ({known}): a state dict of {len(file.state)} tensors ({first}, ...){hint}"


def build(weights: Weights, source: str, kind: type[D]) -> D:
    """Build the detector (a `Detector` or a subclass) that has these weights, in evaluation mode on the CPU.

    CheckpointError if a tensor is missing, left over or misshapen, or no model can be built from the configuration.
    """
    names = weights.class_names() or tuple(f"class {label}" for label in range(weights.num_classes))
    try:
        with torch.device("meta"):  # no memory for a model that the file's tensors do not fill
            check_fit(Detector(weights.config, names).state_dict(), weights.tensors, source)
        with torch.random.fork_rng(devices=[]):  # its first weights are overwritten: a program's own numbers go on
            detector = kind(weights.config, names)
    except (ConfigError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{source}: no model can be built from its configuration ({error})") from error
    load_tensors(detector, weights.tensors, source)
    return detector.eval()
