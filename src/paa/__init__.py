"""Probabilistic Anchor Assignment with IoU Prediction (ECCV 2020), in today's PyTorch.

`paa.load(path)` gives a `PAA`, whose `predict` gives `Detections`; `paa.frames(path)` gives a video's frames.
`paa.train(data, recipe)` trains a detector. `paa.BatchDetector(path)` is for tables of many images.
`paa.core` holds the paper's functions, for models and training loops of your own: `paa_losses`, `assign`, `detect`.
`paa.paa_resnet50_fpn` stands in for torchvision's `fcos_resnet50_fpn` in a training script.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from paa.detections import Detections
from paa.errors import PaaError

if TYPE_CHECKING:
    from paa import core as core
    from paa.batch_inference.detector import BatchDetector
    from paa.core import Assignment, LossWeights, assign, detect, paa_losses
    from paa.data.video.frames import frames
    from paa.predictor import PAA, load
    from paa.torchvision_detector import TorchvisionDetector, paa_resnet50_fpn
    from paa.training.api import train
    from paa.training.records import STOP

__version__ = "0.1.0"

_LAZY = {
    "BatchDetector": "paa.batch_inference.detector",
    "PAA": "paa.predictor",
    "load": "paa.predictor",
    "Assignment": "paa.core",
    "LossWeights": "paa.core",
    "assign": "paa.core",
    "detect": "paa.core",
    "frames": "paa.data.video.frames",
    "paa_losses": "paa.core",
    "TorchvisionDetector": "paa.torchvision_detector",
    "paa_resnet50_fpn": "paa.torchvision_detector",
    "STOP": "paa.training.records",
    "train": "paa.training.api",
}
"""What is imported at its first use: torch takes seconds to import, which `paa --help` should not."""

__all__ = [
    "PAA",
    "STOP",
    "Assignment",
    "BatchDetector",
    "Detections",
    "LossWeights",
    "PaaError",
    "TorchvisionDetector",
    "assign",
    "core",
    "detect",
    "frames",
    "load",
    "paa_losses",
    "paa_resnet50_fpn",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "core":
        return import_module("paa.core")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'paa' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
