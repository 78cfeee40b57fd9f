"""What a training run needs before its first step: data, model, optimizer, folder, all checked before it is written."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from paa.config import DataConfig, LoadingConfig, Precision, to_dict
from paa.data.augment import TrainTransform
from paa.data.index import DatasetIndex
from paa.data.left_out import LeftOut
from paa.data.loader import Loader, eval_loader, train_loader
from paa.data.overlap import shared_images
from paa.data.read import read_dataset
from paa.data.read_report import ReadReport
from paa.data.sampling import Sampling
from paa.data.transforms import Resize
from paa.data.workers import check_shared_memory
from paa.errors import ConfigError, RunError
from paa.model.detector import Detector
from paa.model.prepare import prepare_for_device, resolve_precision
from paa.runtime.distributed import Process
from paa.training.average import WeightAverage
from paa.training.checkpoint import State, model_of, restore, save
from paa.training.optimizer import make_optimizer
from paa.training.run_folder import RunFolder
from paa.training.run_log import Listener, open_log
from paa.training.schedule import Schedule, make_schedule, resume_schedule
from paa.training.settings import TrainConfig, check_settings, ineffective
from paa.weights.read import read_start
from paa.weights.start import load_start, starting_model
from paa.weights.state import BackboneWeights, Weights

log = logging.getLogger("paa")

_WRAPPER_OPTIONS = inspect.signature(DistributedDataParallel).parameters
_BUFFER_OPTION = "forward_sync_buffers" if "forward_sync_buffers" in _WRAPPER_OPTIONS else "broadcast_buffers"
"""The first from torch 2.15 on."""

NoteLeftOut = Callable[[str, list[str]], list[str]]


@dataclass(frozen=True)
class Training:
    """A run that is ready for its next step; detector, average, optimizer and state change with each.

    config: with the model that `--init` or the checkpoint decided. settings: what must be the same when the run goes
    on. record: writes a record everywhere. note_left_out: see `open_left_out`.
    """

    config: TrainConfig
    process: Process
    run: RunFolder
    index: DatasetIndex
    val_index: DatasetIndex | None
    loader: Loader
    detector: Detector
    average: WeightAverage | None
    optimizer: Optimizer
    schedule: Schedule
    state: State
    precision: Precision
    settings: dict[str, Any]
    record: Listener
    note_left_out: NoteLeftOut

    @property
    def evaluated(self) -> Detector:
        """The detector that is evaluated and saved: the average of the trained one's weights, if there is one."""
        return self.detector if self.average is None else self.average.detector

    def save(self, path: Path) -> None:
        """Write a checkpoint of the run as it stands, in the first process."""
        save(path, self.evaluated, self.detector, self.optimizer, self.state, self.settings, self.process)


def prepare(run: RunFolder, config: TrainConfig, process: Process, listen: Listener) -> Training:
    """Return a run that starts, or goes on, in a folder that is locked, if it exists; all is checked before it writes.

    What was read, the schedule, and what has no effect is logged.
    """
    resume_path = run.checkpoint_to_resume() if config.resume == "last" else config.resume
    config, start, messages = follow_start(config, resume_path)
    check_settings(config, process.world)
    recipe, named = config.recipe, config.named_in("schedule")
    torch.manual_seed(config.runtime.seed)
    reports = ReadReport(), ReadReport()
    index, val_index = read_data(config.data, config.validation.batch_size > 0, *reports)
    if val_index is not None and config.validation.limit is not None:
        val_index = val_index.select(np.arange(min(config.validation.limit, len(val_index))))
    schedule, jump = make_schedule(recipe.schedule, config.batch_size, len(index), named), None
    detector = Detector(recipe.model, index.names)
    if start is not None:
        messages += load_start(detector, start)
    elif resume_path is None and (recipe.model.norm != "batch" or recipe.schedule.frozen_stages):
        messages.append("no --init: batch norm or stages are frozen at random weights; r18_nano starts from none")
    precision = resolve_precision(config.runtime.precision, process.device)
    place(detector, config, process.device, precision)
    average = None if recipe.schedule.ema is None else WeightAverage(detector, recipe.schedule.ema)
    evaluated = detector if average is None else average.detector
    optimizer, state = make_optimizer(detector, recipe.schedule), State()
    settings = lasting_settings(config, index, precision)
    if resume_path is not None:
        restore(resume_path, evaluated, detector, optimizer, state, settings)
        schedule, jump = resume_schedule(schedule, state.schedule, state.step, named)
    state.schedule = asdict(schedule)
    loader = make_loader(index, config, process, state.step, schedule.steps)
    check_room(loader, val_index, detector, config, process)
    record = start_log(config, run, process, state, listen, _first_checkpoint(config, schedule, val_index is not None))
    note_left_out = open_left_out(run, config, process, reports)
    if process.first:
        for line in (*(messages if state.step == 0 else ()), schedule.line(config.batch_size, len(index))):
            log.info(line)
        for line in (*ineffective(config, schedule), *([jump] if jump else [])):
            log.warning(line)
    return Training(
        config=config,
        process=process,
        run=run,
        index=index,
        val_index=val_index,
        loader=loader,
        detector=detector,
        average=average,
        optimizer=optimizer,
        schedule=schedule,
        state=state,
        precision=precision,
        settings=settings,
        record=record,
        note_left_out=note_left_out,
    )


def place(detector: Detector, config: TrainConfig, device: torch.device, precision: Precision) -> None:
    """Freeze what the recipe does not train, move the detector to its device, and lay it out for that, in place."""
    runtime = config.runtime
    detector.freeze(config.recipe.schedule.frozen_stages)
    detector.to(device)
    prepare_for_device(
        detector,
        channels_last=runtime.channels_last,
        fast_convolutions=runtime.fast_convolutions and runtime.compile == "off" and precision == "float32",
    )


def lasting_settings(config: TrainConfig, index: DatasetIndex, precision: Precision) -> dict[str, Any]:
    """Return what must be the same when a run goes on; a checkpoint carries it."""
    return {
        **to_dict(config.recipe),
        "batch_size": config.batch_size,
        "seed": config.runtime.seed,
        "precision": precision,
        "init": config.init,
        "images of the data set": len(index),
        "annotations of the data set": len(index.boxes),
    }


def make_loader(index: DatasetIndex, config: TrainConfig, process: Process, start_step: int, steps: int) -> Loader:
    """Return this process's batches for the steps from `start_step` to `steps`."""
    recipe, runtime = config.recipe, config.runtime
    return train_loader(
        index,
        TrainTransform(recipe.augment, recipe.model.legacy),
        Sampling(config.batch_size, steps, start_step, runtime.seed),
        process,
        runtime,
        skip_bad=config.data.skip_bad,
    )


def validation_interval(config: TrainConfig, schedule: Schedule) -> int:
    """Return the number of steps between evaluations: the one asked for, else a tenth of the run."""
    return config.validation.interval or math.ceil(schedule.steps / 10)


def _first_checkpoint(config: TrainConfig, schedule: Schedule, validates: bool) -> int:
    """Return the step after which the run saves its first checkpoint."""
    steps = [schedule.steps, config.runtime.checkpoint_interval]
    return min([*steps, validation_interval(config, schedule)] if validates else steps)


def read_data(
    config: DataConfig, validate: bool, report: ReadReport | None = None, val_report: ReadReport | None = None
) -> tuple[DatasetIndex, DatasetIndex | None]:
    """Read the training set and, if it is wanted, the validation set with the same classes."""
    options: dict[str, Any] = {"format": config.format, "skip_bad": config.skip_bad}
    index = read_dataset(
        config.path,
        config.train_split,
        images=config.images,
        keep_empty=config.keep_empty,
        report=report,
        **options,
    )
    if not validate:
        return index, None
    if config.val_path is None and config.path.is_file() and config.path.suffix.lower() == ".json":
        raise ConfigError(
            f"{config.path} is one annotation file: name the validation set too (--val-data), or do without "
            "validation (--val-batch-size 0)"
        )
    images = config.val_images or (config.images if config.val_path is None else None)
    path = config.val_path or config.path
    val_index = read_dataset(path, config.val_split, images=images, names=index.names, report=val_report, **options)
    if (line := shared_images(index, val_index)) is not None:
        log.warning(line)
    return index, val_index


def follow_start(
    config: TrainConfig, going_on: Path | None
) -> tuple[TrainConfig, Weights | BackboneWeights | None, list[str]]:
    """Return the configuration with the model that `init` asks for, the weights to start from, and a line a change.

    going_on: the checkpoint of a run that goes on, which has that model and those weights already.
    """
    if config.init is None:
        return config, None, []
    asked = config.recipe.model
    if going_on is not None:
        model = model_of(going_on, asked, config.named_in("model"))
        return replace(config, recipe=replace(config.recipe, model=model)), None, []
    start = read_start(config.init, asked.backbone, config.init_format)
    model, changed = starting_model(start, asked, config.named_in("model"))
    lines = [f"model.{name}: {value}, as {start.source} has it (not {was})" for name, (was, value) in changed.items()]
    return replace(config, recipe=replace(config.recipe, model=model)), start, lines


def parallel(detector: Detector, process: Process) -> nn.Module:
    """Wrap the detector for several processes: gradients are averaged.

    Trained batch norm takes the whole batch's statistics on GPUs; on CPUs torch has no such layer, and each process
    takes its own images'.
    """
    if process.world == 1:
        return detector
    if process.device.type == "cuda" and detector.config.norm == "batch":
        if detector.config.backbone.startswith("timm/"):
            from timm.layers.norm_act import convert_sync_batchnorm

            # torch's would drop the activations that are part of timm's norms
            convert_sync_batchnorm(detector)  # type: ignore[no-untyped-call]
        else:
            nn.SyncBatchNorm.convert_sync_batchnorm(detector)
    devices = [process.device.index] if process.device.type == "cuda" else None
    # not at each step: frozen statistics never change, trained ones come from the first process when they are used
    sync: dict[str, Any] = {_BUFFER_OPTION: False}
    return DistributedDataParallel(detector, device_ids=devices, **sync)


def start_log(
    config: TrainConfig, run: RunFolder, process: Process, state: State, listen: Listener, first_checkpoint: int
) -> Listener:
    """Make or reopen the run's folder, and return the function that writes a record everywhere."""
    if not process.first:
        return lambda record: None
    goes_on = config.resume == "last" or (config.resume and config.resume.resolve().parent == run.path.resolve())
    run.lock()
    if not goes_on:
        run.check_empty()
    elif config.resume == "last" and state.step == 0 and run.checkpoint_to_resume() is not None:
        raise RunError(f"{run.path}: another process trained this run meanwhile; give the same command again")
    run.clean()
    about = {"processes": process.world, "schedule": state.schedule, "first_checkpoint": first_checkpoint}
    run.write_config({**to_dict(config), **about})
    return run.keep_open(open_log(run, state, listen))


def open_left_out(
    run: RunFolder, config: TrainConfig, process: Process, reports: tuple[ReadReport, ReadReport]
) -> NoteLeftOut:
    """Write what was left out of the training and the validation set to the run's left_out.txt.

    Returns the function that adds what was left out of a split later on, and returns that, of all processes; it is to
    be called in all of them.
    """
    train_split, val_split = config.data.train_split, config.data.val_split
    file = LeftOut(run.left_out, keep=config.resume is not None)
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


def check_room(
    loader: Loader, val_index: DatasetIndex | None, detector: Detector, config: TrainConfig, process: Process
) -> None:
    """Raise RunError, not only at the first validation, unless the batches of both loaders fit in shared memory."""
    needed = loader.shared_bytes
    if val_index is not None:
        resize = Resize(detector.config.min_size, detector.config.max_size)
        loading = LoadingConfig(config.runtime.workers, batch_size=config.validation.batch_size)
        needed += eval_loader(val_index, resize, process, loading).shared_bytes
    check_shared_memory(needed * process.on_host)
