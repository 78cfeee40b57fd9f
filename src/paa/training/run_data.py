"""The data of a run: what is read, how it is loaded, and what is left out of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from paa.config import DataConfig, LoadingConfig
from paa.data.augment import TrainTransform
from paa.data.images.decoders import limit_pixels
from paa.data.index import DatasetIndex
from paa.data.left_out import LeftOut
from paa.data.loader import Loader, eval_loader, train_loader
from paa.data.overlap import overlap_warning
from paa.data.read import read_dataset
from paa.data.read_report import ReadReport, first_few
from paa.data.sampling import Sampling, repeat_factors
from paa.data.tiles import tile_dataset
from paa.data.transforms import Resize
from paa.data.validation_split import split_off
from paa.data.workers import check_shared_memory
from paa.errors import ConfigError, DataError, MissingSplitError
from paa.runtime.distributed import Process
from paa.training.run_folder import RunFolder
from paa.training.settings import TrainConfig

log = logging.getLogger("paa")


class RunData(NamedTuple):
    """The images to train on and to validate on, None without validation; val_source: where the latter are from."""

    train: DatasetIndex
    val: DatasetIndex | None
    val_source: str


NoteLeftOut = Callable[[str, list[str]], list[str]]
"""Adds what this process left out of a split to left_out.txt; every process calls it and gets what all left out."""


def read_data(
    config: DataConfig,
    validate: bool,
    report: ReadReport | None = None,
    val_report: ReadReport | None = None,
    named: Collection[str] = (),
) -> RunData:
    """Read the training set and, if there is validation, the validation set with the same classes.

    named: the fields that a person set. A data set without a validation split is split (`data.validation_split`),
    unless other validation data is named, and so is one whose `val_fraction` is named. Never is "test" taken instead.
    Without `keep_empty`, images without objects are left out of the training set alone.
    """
    if config.max_pixels is not None:
        limit_pixels(config.max_pixels)
    options: dict[str, Any] = {
        "format": config.format,
        "skip_bad": config.skip_bad,
        "allow_outside": config.allow_outside,
    }
    index = read_dataset(config.path, config.train_split, images=config.images, report=report, **options)
    if not validate:
        return RunData(_to_train_on(index, config), None, "none")
    if "val_fraction" in named:
        return _split(index, config, "as --val-fraction says")
    chosen = config.val_data is not None or not {"val_split", "val_images"}.isdisjoint(named)
    if is_one_file(config):
        if not chosen:
            return _split(index, config, f"as {config.path} is one annotation file")
        raise ConfigError(
            f"{config.path} is one annotation file: name the validation set too (val_data), or train without "
            "validation (validation.batch_size 0)"
        )
    images = config.val_images or (config.images if config.val_data is None else None)
    path = config.val_data or config.path
    try:
        val_index = read_dataset(path, config.val_split, images=images, names=index.names, report=val_report, **options)
    except MissingSplitError:
        if chosen:
            raise
        return _split(index, config, f"as the data set has no split {config.val_split!r}")
    if (line := overlap_warning(index, val_index)) is not None:
        log.warning(line)
    return RunData(_to_train_on(index, config), val_index, f"split {config.val_split!r}")


def is_one_file(config: DataConfig) -> bool:
    """Return whether a data set is one annotation file, in which every split would be the same images."""
    return config.val_data is None and config.path.is_file() and config.path.suffix.lower() == ".json"


def _to_train_on(index: DatasetIndex, config: DataConfig) -> DatasetIndex:
    """Return the images to train on: all, or those with objects; DataError if there are none."""
    kept = index if config.keep_empty else index.with_objects()
    if not len(kept):
        raise DataError(f"{index.root}: no images with objects to train on")
    return kept


def _split(index: DatasetIndex, config: DataConfig, reason: str) -> RunData:
    """Return the images to train and to validate on, and log how many, and why."""
    train, val = split_off(index, config.val_fraction)
    log.info(
        f"validation on {len(val)} of the {len(index)} images of {config.train_split!r}, {reason}: a share of "
        f"{config.val_fraction:g}, chosen by a hash of their names (--val-fraction, --val-split and --val-data choose "
        "others)"
    )
    if lost := [index.names[label] for label in np.setdiff1d(index.labels, train.labels)]:
        log.warning(f"all objects of class {first_few(lost)} are in the validation images: none is trained on")
    train = _to_train_on(train, config)
    return RunData(train, val, f"a share of {config.val_fraction:g} of split {config.train_split!r}, not trained on")


def cut_tiles(index: DatasetIndex, config: TrainConfig) -> tuple[DatasetIndex, list[str]]:
    """Return the images to train on, tiles where the recipe has tiles, and lines that say what became of them.

    DataError if no tile has an object.
    """
    tiles = config.recipe.augment.tiles
    if tiles is None:
        return index, []
    tiled = tile_dataset(index, tiles, config.data.keep_empty)
    if not len(tiled):
        raise DataError(f"{index.root}: nothing to train on: no objects")
    without = len(tiled) - len(np.unique(np.repeat(np.arange(len(tiled)), np.diff(tiled.offsets))[~tiled.crowd]))
    return tiled, [
        f"tiles: {len(index)} images give {len(tiled)} tiles of {tiles.size} pixels to train on, {without} of them "
        f"without objects"
    ]


def first_images(index: DatasetIndex, limit: int | None) -> DatasetIndex:
    """Return the first `limit` images of a data set, or all of them where there is no limit."""
    return index if limit is None else index.select(np.arange(min(limit, len(index))))


def repeat_line(index: DatasetIndex, threshold: float) -> str:
    """Return a line for people about the images that an epoch of repeat-factor sampling has."""
    factors = repeat_factors(index, threshold)
    if factors.max() == 1:
        return f"repeat-factor sampling repeats nothing: each class is in {threshold:g} of the images or more"
    return (
        f"repeat-factor sampling: an epoch has about {factors.sum():.0f} images, {(factors > 1).sum()} of the "
        f"{len(index)} more than once, up to {factors.max():.3g} times; schedule.epochs counts {len(index)}"
    )


def make_loader(index: DatasetIndex, config: TrainConfig, process: Process, start_step: int, steps: int) -> Loader:
    """Return this process's batches for the steps from `start_step` to `steps`."""
    recipe, runtime = config.recipe, config.runtime
    return train_loader(
        index,
        TrainTransform(recipe.augment, recipe.model.legacy),
        Sampling(config.batch_size, steps, start_step, runtime.seed, config.accumulate),
        process,
        runtime,
        skip_bad=config.data.skip_bad,
    )


def check_shared_memory_of(
    loader: Loader, val_index: DatasetIndex | None, config: TrainConfig, process: Process
) -> None:
    """Raise RunError unless the batches of training and validation, which are loaded at once, fit in shared memory.

    Checked before the first step, not only when the first validation begins.
    """
    needed = loader.shared_bytes
    if val_index is not None:
        model, tiles = config.recipe.model, config.recipe.augment.tiles
        resize = Resize(model.min_size if tiles is None else None, model.max_size)
        loading = LoadingConfig(config.runtime.workers, batch_size=config.validation.batch_size)
        needed += eval_loader(val_index, resize, process, loading).shared_bytes
    check_shared_memory(needed * process.on_host)


def open_left_out(
    folder: RunFolder, config: TrainConfig, process: Process, reports: tuple[ReadReport, ReadReport]
) -> NoteLeftOut:
    """Write what was left out of the training and the validation set to the run's left_out.txt.

    reports: those of reading the two sets. Returns the function that adds what is left out later on.
    """
    train_split, val_split = config.data.train_split, config.data.val_split
    file = LeftOut(folder.left_out, keep=config.resume is not None)
    file.add(train_split, reports[0].left_out)
    file.add(val_split if val_split != train_split else f"{val_split} (validation)", reports[1].left_out)
    if process.first:
        file.write()

    def note(split: str, left_out: list[str]) -> list[str]:
        messages = [message for part in process.gather(left_out) for message in part]
        file.add(split, messages)
        if process.first:
            file.write()
        return list(dict.fromkeys(messages))

    return note
