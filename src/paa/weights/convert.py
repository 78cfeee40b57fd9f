"""Convert any detector's checkpoint to this project's model file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paa.config import WeightsFormat
from paa.errors import CheckpointError
from paa.model.detector import Detector
from paa.runtime.files import sha256
from paa.weights.formats.own import check_names, write_model
from paa.weights.hosted import local_file
from paa.weights.read import build, read_weights
from paa.weights.state import Weights


def convert(
    path: Path, output: Path, *, names: Sequence[str] | None = None, format: WeightsFormat | None = None
) -> Weights:
    """Write the model in a checkpoint to `output`, and return what was written.

    path: a file, or a name of `weights.hosted.MODELS`. names: the classes, for a checkpoint that has no names or other
    ones. The file remembers its origin: the checkpoint's name, format and SHA-256. CheckpointError if the checkpoint is
    incomplete, if it has no names and none are given, or if the number of names is not that of classes.
    """
    weights = read_weights(path, format)
    if names is not None:
        check_names(names)
        if len(names) != weights.num_classes:
            raise CheckpointError(f"{path}: has {weights.num_classes} classes, {len(names)} names are given")
        weights = weights._replace(names=tuple(names))
    if weights.class_names() is None:
        raise CheckpointError(f"{path}: has {weights.num_classes} classes without names: give their names with --names")
    detector = build(weights, str(path), Detector)
    provenance = {"sha256": sha256(local_file(path)), **weights.provenance}
    write_model(output, detector.config, detector.names, detector.state_dict(), provenance)
    return weights._replace(names=detector.names, tensors=detector.state_dict(), provenance=provenance)
