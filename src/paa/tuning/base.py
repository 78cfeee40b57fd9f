"""The recipe that a search begins with: what `paa train` would do with the same options, and what its trials change."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from paa.config import Recipe
from paa.data.index import DatasetIndex
from paa.errors import ConfigError
from paa.model.prepare import resolve_precision
from paa.runtime.distributed import Process
from paa.training.auto import budget_of, resolve_auto, with_fields
from paa.training.init import resolve_init
from paa.training.run_data import cut_tiles, first_images, read_data
from paa.training.schedule import Schedule, fit_decays, make_schedule, max_warmup
from paa.training.settings import TrainConfig, assigner_of, check_settings
from paa.training.setup import as_recipe
from paa.tuning.space import AUGMENTATION, Parameter, Values, fields_of, make_space
from paa.weights.state import Weights

log = logging.getLogger("paa")


@dataclass(frozen=True)
class Base:
    """The base of a search.

    config: as a person gave it, with a validation split of the training images unless another one is named. recipe: as
    `paa train` resolves it. index: the images to train on. val_index: those to judge on; val_source: where these
    are from. space: what the trials change.
    """

    config: TrainConfig
    recipe: Recipe
    index: DatasetIndex
    val_index: DatasetIndex
    val_source: str
    space: tuple[Parameter, ...]

    def of_trial(self, values: Values, steps: int | None) -> TrainConfig:
        """Return the configuration of a trial; steps: of its run, None for as many as the recipe decides.

        What is named is used as it is, and what `auto` decides follows it, as in any run. The values of the base name
        nothing, so that its run is that of `paa train`. A shorter run keeps the decays' shares of the run, and warms up
        in a quarter of it at most.
        """
        base = {p.name: p.base for p in self.space}
        own = {} if values == base else dict(values)
        if AUGMENTATION in values and self.config.auto and steps is not None:
            own[AUGMENTATION] = values[AUGMENTATION]  # for a run of full length, not for a short one
        elif not self.config.auto and own.get(AUGMENTATION) == base.get(AUGMENTATION):
            own.pop(AUGMENTATION, None)  # the recipe's own, which may be another jitter than that of the same name
        fields: Mapping[str, object] = fields_of(own)
        named = [*self.config.named, *fields]
        recipe = with_fields(self.config.recipe, fields)
        if steps is not None:
            named = [*(name for name in named if name not in ("schedule.epochs", "schedule.steps")), "schedule.steps"]
            warmup = min(recipe.schedule.warmup_steps, max_warmup(steps))
            short = replace(recipe.schedule, steps=steps, epochs=None, warmup_steps=warmup)
            own_names = (*self.config.named_in("schedule"), "steps")
            recipe = replace(recipe, schedule=fit_decays(short, recipe.schedule, own_names))
        return replace(self.config, recipe=recipe, named=tuple(dict.fromkeys(named)))

    def full_recipe(self, trained: Recipe, values: Values, process: Process) -> Recipe:
        """Return the recipe of a trial that was shorter than a run, with the schedule of a whole run.

        trained: the trial's own recipe.
        """
        config, _ = resolve_auto(self.of_trial(values, None), self.index, process, None)
        precision = resolve_precision(config.runtime.precision, process.device)
        schedule = _schedule(config, self.index)
        return replace(trained, schedule=as_recipe(config, schedule, precision).schedule)


def find_base(config: TrainConfig, process: Process) -> Base:
    """Return the base of a search; every error of the options and the data that a run would find, is raised here."""
    if process.world > 1:
        raise ConfigError(f"paa tune is one process, not {process.world}: start it without torchrun")
    if config.validation.batch_size <= 0:
        raise ConfigError("trials are judged by their validation: --val-batch-size cannot be 0")
    if {"data.val_split", "data.val_data", "data.val_images"}.isdisjoint(config.named):
        # not the set's own validation images either: whoever chooses by them has nothing left to test on
        config = replace(config, named=tuple(dict.fromkeys([*config.named, "data.val_fraction"])))
    if "schedule.reference_batch" in config.named:  # by which steps and learning rates would be scaled once more
        raise ConfigError("schedule.reference_batch cannot be set: trials set learning rates for the batch size itself")
    check_settings(config, process.world)
    assigner_of(config)
    index, val_index, val_source = read_data(config.data, True, named=config.named_in("data"))
    assert val_index is not None
    resolved, lines = resolve_auto(config, index, process, None)
    resolved, weights, _ = resolve_init(resolved, None)
    for line in lines:
        log.info(line)
    precision = resolve_precision(resolved.runtime.precision, process.device)
    schedule = _schedule(resolved, index)
    recipe = as_recipe(resolved, schedule, precision)
    sizes: list[int] = []
    if config.auto:
        named = resolved.runtime.precision if "runtime.precision" in config.named else None
        filled = int(np.median(index.sizes.min(1)))
        sizes = [size for size in budget_of(process.device, named).sizes if size <= filled]
    space = make_space(recipe, schedule.lr, config.named, sizes, isinstance(weights, Weights))
    judged = first_images(val_index, config.validation.limit)
    return Base(config, recipe, index, judged, val_source, space)


def _schedule(config: TrainConfig, index: DatasetIndex) -> Schedule:
    """Return the schedule of a run on these images."""
    tiled, _ = cut_tiles(index, config)
    return make_schedule(config.recipe.schedule, config.batch_size, len(tiled), config.named_in("schedule"))
