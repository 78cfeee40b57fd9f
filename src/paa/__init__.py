"""Probabilistic Anchor Assignment with IoU Prediction (ECCV 2020), in today's PyTorch.

`paa.load(path)` gives a `PAA`, whose `predict` gives `Detections`. `paa.train(data, recipe)` trains one.
"""

from typing import TYPE_CHECKING, Any

from paa.detections import Detections
from paa.errors import PaaError

if TYPE_CHECKING:
    from paa.predictor import PAA, load
    from paa.training.api import train
    from paa.training.records import STOP

__version__ = "0.1.0"
__all__ = ["PAA", "STOP", "Detections", "PaaError", "load", "train"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, which `paa --help` should not
    if name in ("PAA", "load"):
        from paa import predictor

        return getattr(predictor, name)
    if name == "train":
        from paa.training.api import train

        return train
    if name == "STOP":
        from paa.training.records import STOP

        return STOP
    raise AttributeError(f"module 'paa' has no attribute {name!r}")
