"""What is tuned: a few numbers of a recipe, around the values that the recipe has.

docs/results.md says which ones mattered where they were measured: learning rates, image size, anchors, augmentation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from paa.config import AugmentConfig, Recipe
from paa.training.auto import AUGMENTED

Value = float | int | str
Values = Mapping[str, Value]
"""Parameter -> its value in a trial."""

AUGMENTATION = "augmentation"
"""The parameter whose values stand for several fields of the recipe; any other one has the name of its field."""

_FLIPS: Mapping[str, object] = {"augment.scale_jitter": None, "augment.color_jitter": 0.0, "augment.mosaic": 0.0}
_STRENGTHS: Mapping[str, Mapping[str, object]] = {
    "flips": _FLIPS,
    "jitter": {**AUGMENTED, "augment.mosaic": 0.0},
    "mosaics": AUGMENTED,
}
_ANCHOR_SCALES = (2.0, 3.0, 4.0, 6.0, 8.0)


@dataclass(frozen=True)
class Parameter:
    """A number that is tuned: one of `choices`, or without these from `low` to `high`, evenly in its logarithm.

    base: its value in the recipe as it is, which trial 0 has.
    """

    name: str
    base: Value
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0

    def holds(self, value: Value) -> bool:
        """Return whether a value is in the space."""
        return value in self.choices if self.choices else isinstance(value, float) and self.low <= value <= self.high


def make_space(
    recipe: Recipe, lr: float, named: Collection[str], sizes: Sequence[int], own_anchors: bool
) -> tuple[Parameter, ...]:
    """Return what is tuned of a recipe: nothing that a person named.

    recipe: with all that is decided from the data. lr: of the run, for its batch size. sizes: the image sizes to choose
    from, none to keep the recipe's. own_anchors: whether the weights to start from decide the anchors.
    """
    schedule, model = recipe.schedule, recipe.model
    parameters = [_around("schedule.lr", lr, 4)]
    parameters.append(_around("schedule.weight_decay", schedule.weight_decay, 5))
    factor = schedule.backbone_lr_factor
    if recipe.init is not None:
        parameters.append(Parameter("schedule.backbone_lr_factor", factor, low=min(0.1, factor), high=max(1.0, factor)))
    if not _FLIPS.keys() & set(named):
        parameters.append(Parameter(AUGMENTATION, strength(recipe.augment), tuple(_STRENGTHS)))
    if "augment.min_sizes" not in named:
        parameters.append(Parameter("model.min_size", model.min_size, tuple(sorted({*sizes, model.min_size}))))
    if not own_anchors:
        parameters.append(Parameter("model.anchor_scale", model.anchor_scale, _neighbours(model.anchor_scale)))
    return tuple(p for p in parameters if p.name not in named and (len(p.choices) > 1 or 0 < p.low < p.high))


def strength(augment: AugmentConfig) -> str:
    """Return the augmentation's name: flips, with jitter of scale and colours, or with mosaics too."""
    return "mosaics" if augment.mosaic else "jitter" if augment.scale_jitter or augment.color_jitter else "flips"


def fields_of(values: Values) -> dict[str, object]:
    """Return the fields of a recipe that a trial's values set."""
    fields: dict[str, object] = {name: value for name, value in values.items() if name != AUGMENTATION}
    if AUGMENTATION in values:
        fields.update(_STRENGTHS[str(values[AUGMENTATION])])
    return fields


def _around(name: str, base: float, factor: float) -> Parameter:
    return Parameter(name, base, low=base / factor, high=base * factor)


def _neighbours(scale: float) -> tuple[Value, ...]:
    """Return the anchors' scale with the next smaller and the next larger one."""
    scales = sorted({*_ANCHOR_SCALES, scale})
    at = scales.index(scale)
    return tuple(scales[max(0, at - 1) : at + 2])
