"""Export a checkpoint, run what was written, and keep it only where it detects the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import paa
from paa.config import LoadingConfig
from paa.data.index import DatasetIndex
from paa.data.shapes import draw_image
from paa.errors import ConfigError
from paa.export.description import Description, GraphSettings
from paa.export.detector import ExportedDetector
from paa.export.packages import check_packages
from paa.export.proof import SampleDifferences, compare_aps, compare_samples
from paa.export.session import open_exported
from paa.export.write import write_onnx
from paa.inference.sources import Source
from paa.model.detector import Detector
from paa.model.prepare import prepare_for_device
from paa.runtime.files import check_folder, sha256
from paa.weights.hosted import local_file
from paa.weights.read import build
from paa.weights.state import Weights

_DRAWN = 4  # images drawn where there are no others


@dataclass(frozen=True)
class Evidence:
    """What an exported model is compared on: sample images (none: drawn ones), and the images of a data set, if any.

    tolerance: the difference of the APs, in percent, up to which an exported model is kept.
    """

    samples: Sequence[Source] = ()
    index: DatasetIndex | None = None
    loading: LoadingConfig = LoadingConfig()
    tolerance: float = 0.1


@dataclass(frozen=True)
class Exported:
    """A written file, and how it compares. aps: of the checkpoint and of the exported model, in percent."""

    path: Path
    samples: SampleDifferences
    aps: tuple[float, float] | None
    kept: bool


def check_output(path: Path) -> None:
    """Raise ConfigError or RunError unless a model can be exported to this file, and the packages are installed."""
    if path.suffix != ".onnx":
        raise ConfigError(f"{path}: models are exported as ONNX: name it {path.stem or 'model'}.onnx")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise ConfigError(f"{path}: a folder, not a file: name the file to write")
    check_folder(path.parent)
    check_packages(path, "onnx", "onnxscript", "onnxruntime")


def unproven_path(path: Path) -> Path:
    """Return where a file is until it is proven, and stays where its detections differ too much."""
    return path.with_name(f"{path.stem}.unproven{path.suffix}")


def export(
    checkpoint: Path,
    weights: Weights,
    path: Path,
    settings: GraphSettings = GraphSettings(),
    evidence: Evidence = Evidence(),
    listen: Callable[[str], object] = lambda step: None,
) -> Exported:
    """Write the model of a checkpoint to `path` if the written graph proves to detect the same.

    checkpoint: the file, or name, that the weights were read from. Where the exported model differs, a file that was
    at `path` stays, and the new one is left at `unproven_path(path)`. listen: is called with each step before it is
    taken. Raises as `check_output`, `write_onnx`, `compare_samples` and `compare_aps`.
    """
    check_output(path)
    inference = settings.inference()
    detector = build(weights, str(checkpoint), Detector)
    origin = {"sha256": sha256(local_file(checkpoint)), **weights.provenance, "paa": paa.__version__}
    description = Description(detector.names, detector.config, settings, origin)
    candidate = unproven_path(path)
    try:
        listen("exporting")
        write_onnx(candidate, detector, description)
        exported = ExportedDetector(open_exported(candidate))
        prepare_for_device(detector, channels_last=True, fast_convolutions=True)
        listen("comparing")
        samples = evidence.samples or [draw_image(np.random.default_rng(i), (320, 448))[0] for i in range(_DRAWN)]
        differences = compare_samples(detector, exported, samples, inference)
        aps, kept = None, differences.small
        if evidence.index is not None:
            aps = compare_aps(detector, exported, evidence.index, inference, evidence.loading)
            kept = abs(aps[0] - aps[1]) <= evidence.tolerance
    except BaseException:
        candidate.unlink(missing_ok=True)
        raise
    if kept:
        candidate.replace(path)
    return Exported(path if kept else candidate, differences, aps, kept)
