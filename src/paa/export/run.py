"""Export a checkpoint, run what was written, and keep it only where it detects the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import paa
from paa.config import LoadingConfig
from paa.data.index import DatasetIndex
from paa.data.shapes import draw_image
from paa.errors import ConfigError
from paa.export.calibration import Calibration
from paa.export.choose import FORMS, form_of
from paa.export.description import Description, GraphSettings
from paa.export.detector import ExportedDetector
from paa.export.forms.interface import Form
from paa.export.proof import SampleDifferences, compare_aps, compare_samples
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
    """A written file, and how it compares.

    size: in bytes, with the files that belong to it. aps: of the checkpoint and of the exported model, in percent.
    """

    path: Path
    size: int
    samples: SampleDifferences
    aps: tuple[float, float] | None
    kept: bool


def check_output(path: Path, settings: GraphSettings = GraphSettings(), *, int8: bool = False) -> Form:
    """Return the form that the file's name asks for; ConfigError or RunError unless it can be exported like that."""
    form = form_of(path)
    for option, wanted, able in (
        ("--resize", settings.resize, [suffix for suffix, form in FORMS.items() if form.resizes]),
        ("--int8", int8, [suffix for suffix, form in FORMS.items() if form.int8]),
    ):
        if wanted and form.suffix not in able:
            raise ConfigError(f"{path}: {option} is for the forms {', '.join(able)}, not for {form.suffix}")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise ConfigError(f"{path}: a folder, not a file: name the file to write")
    if other := next((file for file in form.files(path)[:-1] if file.exists() and not path.exists()), None):
        raise ConfigError(f"{other}: would be overwritten with {path.name}; give another name")
    check_folder(path.parent)
    form.check(path)
    return form


def unproven_path(path: Path) -> Path:
    """Return where a file is until it is proven, and stays where its detections differ too much."""
    return path.with_name(f"{path.stem}.unproven{path.suffix}")


def export(
    checkpoint: Path,
    weights: Weights,
    path: Path,
    settings: GraphSettings = GraphSettings(),
    evidence: Evidence = Evidence(),
    calibration: Calibration | None = None,
    listen: Callable[[str], object] = lambda step: None,
) -> Exported:
    """Write the model of a checkpoint to `path` if the written graph proves to detect the same.

    checkpoint: the file, or name, that the weights were read from. Where the exported model differs, a file that was
    at `path` stays, and the new one is left at `unproven_path(path)`. calibration: images for an export in INT8.
    listen: is called with each step before it is taken. Raises as `check_output`, the form's `Write`,
    `compare_samples` and `compare_aps`.
    """
    form = check_output(path, settings, int8=calibration is not None)
    candidate = unproven_path(path)
    files = form.files(candidate)
    source = local_file(checkpoint)
    if source.resolve() in {file.resolve() for file in [*files, *form.files(path)]}:
        raise ConfigError(f"{checkpoint}: would be overwritten by its export; give another name")
    inference = settings.inference()
    detector = build(weights, str(checkpoint), Detector)
    origin = {"sha256": sha256(source), **weights.provenance, "paa": paa.__version__}
    description = Description(detector.names, detector.config, settings, origin)
    if calibration is not None:
        origin["calibration"] = f"{len(calibration)} images of the split {calibration.split}"
        description = replace(description, precision="int8")
    try:
        listen("exporting")
        form.write(candidate, detector, description, calibration)
        exported = ExportedDetector(form.open(candidate))
        prepare_for_device(detector, channels_last=True, fast_convolutions=True)
        listen("comparing")
        samples = evidence.samples or [draw_image(np.random.default_rng(i), (320, 448))[0] for i in range(_DRAWN)]
        differences = compare_samples(detector, exported, samples, inference)
        aps, kept = None, differences.small
        if evidence.index is not None:
            aps = compare_aps(detector, exported, evidence.index, inference, evidence.loading)
            kept = abs(aps[0] - aps[1]) <= evidence.tolerance
    except BaseException:
        for file in files:
            file.unlink(missing_ok=True)
        raise
    size = sum(file.stat().st_size for file in files)
    if kept:
        for file, final in zip(files, form.files(path)):
            file.replace(final)
    return Exported(path if kept else candidate, size, differences, aps, kept)
