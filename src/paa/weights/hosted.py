"""Detectors by name: MMDetection's PAA models on COCO, fetched once from its server or a mirror."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from paa.errors import CheckpointError
from paa.weights.download import DownloadError, download

SERVER = "https://download.openmmlab.com/mmdetection/v2.0/paa/"

MIRROR = "PAA_WEIGHTS_MIRROR"
"""Environment variable: an address or a folder in place of `SERVER`, with the same files under the same paths."""


@dataclass(frozen=True)
class HostedModel:
    """A model on the server.

    path: below `SERVER`; the file's name ends with the first hexadecimal digits of its SHA-256. ap: on COCO val2017, in
    percent, with score voting, as MMDetection states it.
    """

    path: str
    ap: float

    @property
    def sha256_prefix(self) -> str:
        """The first hexadecimal digits of the file's SHA-256."""
        return Path(self.path).stem.rpartition("-")[2]

    @property
    def address(self) -> str:
        """Where the file is fetched from."""
        base = os.environ.get(MIRROR) or SERVER
        if "://" not in base:
            base = Path(base).absolute().as_uri()
        return f"{base.rstrip('/')}/{self.path}"

    @property
    def cached(self) -> Path:
        """Where the file is kept: with torchvision's weights, and where MMDetection itself keeps it."""
        return Path(torch.hub.get_dir()) / "checkpoints" / Path(self.path).name


MODELS = {
    "mmdet/r50_1x": HostedModel("paa_r50_fpn_1x_coco/paa_r50_fpn_1x_coco_20200821-936edec3.pth", 40.4),
    "mmdet/r50_1.5x": HostedModel("paa_r50_fpn_1.5x_coco/paa_r50_fpn_1.5x_coco_20200823-805d6078.pth", 41.4),
    "mmdet/r50_2x": HostedModel("paa_r50_fpn_2x_coco/paa_r50_fpn_2x_coco_20200821-c98bfc4e.pth", 41.6),
    "mmdet/r50_mstrain_3x": HostedModel(
        "paa_r50_fpn_mstrain_3x_coco/paa_r50_fpn_mstrain_3x_coco_20210121_145722-06a6880b.pth", 43.3
    ),
    "mmdet/r101_1x": HostedModel("paa_r101_fpn_1x_coco/paa_r101_fpn_1x_coco_20200821-0a1825a4.pth", 42.6),
    "mmdet/r101_2x": HostedModel("paa_r101_fpn_2x_coco/paa_r101_fpn_2x_coco_20200821-6829f96b.pth", 43.5),
    "mmdet/r101_mstrain_3x": HostedModel(
        "paa_r101_fpn_mstrain_3x_coco/paa_r101_fpn_mstrain_3x_coco_20210122_084202-83250d22.pth", 45.1
    ),
}


def local_file(given: str | Path) -> Path:
    """Return the file that is meant by a path or by a name of `MODELS`, whose file is fetched if it is not there yet.

    Whatever exists at that path comes before the model of that name. A path is returned unchanged, whether or not it
    exists. CheckpointError if a model cannot be fetched, and for what is neither a file nor quite a model's name.
    """
    path = Path(given)
    name = path.as_posix()
    if (model := MODELS.get(name)) is None:
        if (meant := similar(name, MODELS)) and not path.exists():
            raise CheckpointError(f"{name}: no such file, and no weights of that name; similar: {', '.join(meant)}")
        return path
    if path.exists():
        return path
    try:
        download(model.address, model.cached, model.sha256_prefix)
    except DownloadError as error:
        raise CheckpointError(
            f"{name}: cannot be fetched from {model.address}: {error}. Put the file at {model.cached} by hand, or name "
            f"a mirror in {MIRROR}"
        ) from error
    return model.cached


def similar(given: str, names: Iterable[str]) -> list[str]:
    """Return the names that are meant by one that is not among them, best first; empty if it may mean anything else.

    `mmdet/r50_3x` is like all names of mmdet/, `r50_1x` and `mmdet_r50_1x` like `mmdet/r50_1x`.
    """
    known = list(names)
    group = given.partition("/")[0] + "/"
    if any(name.startswith(group) for name in known):
        return difflib.get_close_matches(given, known, n=3) or known
    return [name for name in known if name.endswith(f"/{given}")] or difflib.get_close_matches(given, known, cutoff=0.9)
