"""Which of an image's detections are kept: above a threshold of their class, of some classes, the best few."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paa.data.read_report import first_few
from paa.detections import Detections
from paa.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Keep:
    """A choice among the detections of a model with C classes.

    thresholds (C,): float64, the least score of each class's detections. wanted (C,): bool, the classes that are kept.
    most: the number of detections kept in an image, the best ones; None for all.
    """

    thresholds: npt.NDArray[np.float64]
    wanted: npt.NDArray[np.bool_]
    most: int | None = None

    def __call__(self, detections: Detections) -> Detections:
        """Return the detections that are kept, best first."""
        labels = detections.labels
        kept = self.wanted[labels] & (detections.scores >= self.thresholds[labels])
        return detections[kept][: self.most]


def keep_for(
    names: tuple[str, ...],
    threshold: float = 0.0,
    *,
    thresholds: Mapping[str, float] | None = None,
    classes: Collection[str] = (),
    most: int | None = None,
) -> Keep:
    """Return the choice for a model with these class names.

    thresholds: by class name; `threshold` counts for the classes without one. classes: those that are kept, all if
    empty. ConfigError for a class that the model does not have, and for `most` below 1.
    """
    if most is not None and most < 1:
        raise ConfigError(f"--top-k must be at least 1, got {most}")
    _check_known(classes, names, "--classes")
    _check_known(thresholds or (), names, "--thresholds")
    each = [(thresholds or {}).get(name, threshold) for name in names]
    wanted = [not classes or name in classes for name in names]
    return Keep(np.array(each, np.float64), np.array(wanted, np.bool_), most)


def _check_known(asked: Collection[str], names: tuple[str, ...], option: str) -> None:
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise ConfigError(f"{option}: the model has no class {first_few(unknown)}; its classes are {', '.join(names)}")
