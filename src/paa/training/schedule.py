"""The learning rate of every step of a run: what a person set is used as it is, a recipe's defaults are scaled."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from paa.config import ScheduleConfig
from paa.errors import ConfigError


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step of one run, at its own batch size; steps and `decays` are counted from 0."""

    steps: int
    decays: tuple[int, ...]
    lr: float
    warmup_steps: int
    warmup_factor: float
    warmup: str
    shape: str

    def lr_at(self, step: int) -> float:
        """Return the learning rate of `step`, counted from 0."""
        lr = self.lr
        if self.shape == "cosine":
            lr *= 0.5 * (1 + math.cos(math.pi * min(step / max(self.steps, 1), 1)))
        else:
            lr *= 0.1 ** sum(step >= decay for decay in self.decays)
        if step < self.warmup_steps:
            done = step / self.warmup_steps if self.warmup == "linear" else 0.0
            lr *= self.warmup_factor + (1 - self.warmup_factor) * done
        return lr

    def line(self, batch_size: int, images: int) -> str:
        """Return the schedule in one line for people; images: in the training set."""
        if self.shape == "cosine":
            course = "falling to 0 on a cosine"
        elif self.decays:
            course = f"a tenth of it from steps {', '.join(map(str, self.decays))} on"
        else:
            course = "constant"
        warmup = "no warm-up"
        if self.warmup_steps:
            kind = "rising from" if self.warmup == "linear" else "constant at"
            steps = f"{self.warmup_steps} step{'s' if self.warmup_steps > 1 else ''}"
            within = " (the run ends within it)" if self.warmup_steps >= self.steps else ""
            warmup = f"warm-up {steps}{within}, {kind} {self.lr * self.warmup_factor:.3g}"
        epochs = self.steps * batch_size / images
        return (
            f"schedule: {self.steps} steps of {batch_size} images ({epochs:.3g} epochs), "
            f"learning rate {self.lr:.3g}, {course}, {warmup}"
        )


def make_schedule(config: ScheduleConfig, batch_size: int, images: int, named: Collection[str] = ()) -> Schedule:
    """Return the schedule of one run.

    images: in the training set, for a schedule in epochs. named: the fields that a person set. Their values are used as
    they are; the others are adapted. The learning rate is scaled by batch / reference_batch, steps and decays by its
    inverse (Goyal et al. 2017). A schedule whose reference_batch is named went through `for_batch` before. Decays that
    are not named keep their share of the run, also where steps are named or `epochs` are given. Steps that are named
    come before epochs that are not. The warm-up is as many steps at any batch size, but at most a quarter of the run.
    ConfigError for fields that contradict each other, and for a run without a step.
    """
    _check(config, named)
    scale = config.reference_batch / batch_size
    stretch = 1.0 if "steps" in named else scale  # the factor of the run's length, which its decays follow
    steps = round(config.steps * stretch)
    lr = config.lr if "lr" in named else config.lr / scale
    decays = config.decays if "decays" in named else tuple(round(decay * stretch) for decay in config.decays)
    if config.epochs is not None and "steps" not in named:
        share = config.epochs * images / batch_size / max(steps, 1)
        steps = max(1, round(steps * share))
        if "decays" not in named:
            decays = tuple(round(decay * share) for decay in decays)
    if steps < 1:
        raise ConfigError(
            f"{config.steps} steps of {config.reference_batch} images are less than one of {batch_size}: "
            "nothing would be trained"
        )
    warmup = config.warmup_steps
    if "warmup_steps" not in named and warmup:
        warmup = min(warmup, max_warmup(steps))
    return Schedule(steps, decays, lr, warmup, config.warmup_factor, config.warmup, config.shape)


def max_warmup(steps: int) -> int:
    """Return the most steps of a default warm-up: a quarter of the run, at least one."""
    return max(1, steps // 4)


def resume_schedule(
    schedule: Schedule, before: Schedule, step: int, named: Collection[str] = ()
) -> tuple[Schedule, str | None]:
    """Return the schedule of a run that is resumed after `step` steps, and a line if its learning rate jumps there.

    before: the schedule that the run had until then. Unless warmup_steps are named, the warm-up stays as it was, so
    that a longer run does not warm up a second time. ConfigError for a schedule with fewer steps than the run has had.
    """
    if schedule.steps < step:
        raise ConfigError(
            f"the run has trained {step} steps already, and would be resumed with a schedule of {schedule.steps}"
        )
    if "warmup_steps" not in named:
        schedule = replace(schedule, warmup_steps=before.warmup_steps)
    old, new = before.lr_at(step), schedule.lr_at(step)
    if step == 0 or math.isclose(old, new, rel_tol=1e-6, abs_tol=1e-12):
        return schedule, None
    return schedule, (
        f"the learning rate jumps from {old:.3g} to {new:.3g} at step {step}: "
        f"the run had a schedule of {before.steps} steps, and is resumed with one of {schedule.steps}"
    )


def fit_decays(config: ScheduleConfig, recipe: ScheduleConfig, named: Collection[str]) -> ScheduleConfig:
    """Return a recipe's schedule, changed by a person in the `named` fields, with decays that fit its steps.

    If steps are named and decays are not, the decays are at the same share of the run as in the recipe.
    """
    if "decays" in named or "steps" not in named or config.steps == recipe.steps:
        return config
    share = config.steps / recipe.steps
    return replace(config, decays=tuple(round(decay * share) for decay in recipe.decays))


def for_batch(
    config: ScheduleConfig, batch_size: int, named: Collection[str], recipe_batch: int | None = None
) -> ScheduleConfig:
    """Return a schedule whose `reference_batch` a person named, as it is for `batch_size` images a step.

    Only what is `named` was written for the reference batch, and decays that follow named steps. recipe_batch: the one
    for which the rest was written; by default `batch_size`. Any other schedule is returned as it is.
    """
    if "reference_batch" not in named or min(config.reference_batch, batch_size) < 1:  # what cannot be is refused later
        return config
    own = (batch_size if recipe_batch is None else recipe_batch) / batch_size
    given = config.reference_batch / batch_size
    steps, lr = (given if name in named else own for name in ("steps", "lr"))
    decays = steps if "decays" not in named else given
    return replace(
        config,
        steps=round(config.steps * steps),
        decays=tuple(round(decay * decays) for decay in config.decays),
        lr=config.lr / lr,
        reference_batch=batch_size,
    )


def _check(config: ScheduleConfig, named: Collection[str]) -> None:
    """Raise ConfigError for a named field that another one contradicts."""
    contradictions = (
        ("steps", "epochs", "epochs" in named and config.epochs is not None),
        ("decays", "shape cosine", config.shape == "cosine" and bool(config.decays)),
    )
    for name, other, contradicted in contradictions:
        if name in named and contradicted:
            raise ConfigError(f"schedule.{name} and schedule.{other} contradict each other: set only one of them")
