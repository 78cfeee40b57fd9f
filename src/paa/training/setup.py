"""Setting up a run: everything is read, built and checked before the first file is written."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from paa.config import Precision, to_dict
from paa.core.losses import paa_losses
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport
from paa.errors import RunError
from paa.model.detector import Detector
from paa.model.prepare import arrange, compile_network, resolve_precision
from paa.runtime.distributed import Process
from paa.training.average import WeightAverage
from paa.training.finite import FiniteCheck
from paa.training.init import resolve_init
from paa.training.log import TrainingLog
from paa.training.optimizer import make_optimizer
from paa.training.parallel import parallel
from paa.training.records import Listener, ignore
from paa.training.run import Run
from paa.training.run_data import check_shared_memory_of, first_images, make_loader, open_left_out, read_data
from paa.training.run_folder import RunFolder
from paa.training.run_log import open_log
from paa.training.schedule import Schedule, make_schedule, resume_schedule
from paa.training.settings import TrainConfig, check_settings, ineffective
from paa.training.state import TrainingState
from paa.weights.files import read_file
from paa.weights.start import load_start

log = logging.getLogger("paa")


@contextmanager
def set_up(config: TrainConfig, process: Process, listener: Listener) -> Iterator[Run]:
    """Give a run that is ready for its next step, which is its first one or, resumed, the one after its checkpoint.

    Its folder is locked as soon as it exists, and its files are closed at the end. What was read, the schedule and the
    options without an effect are logged.
    """
    with RunFolder(config.output) as folder:
        if process.first and folder.path.is_dir():
            folder.lock()
        resume_path = folder.checkpoint_to_resume() if config.resume == "last" else config.resume
        config, weights, init_messages = resolve_init(config, resume_path)
        check_settings(config, process.world)
        recipe, named = config.recipe, config.named_in("schedule")

        reports = ReadReport(), ReadReport()
        index, val_index = read_data(config.data, config.validation.batch_size > 0, *reports)
        val_index = None if val_index is None else first_images(val_index, config.validation.limit)
        schedule = make_schedule(recipe.schedule, config.batch_size, len(index), named)
        precision = resolve_precision(config.runtime.precision, process.device)

        torch.manual_seed(config.runtime.seed)
        detector = Detector(recipe.model, index.names)
        if weights is not None:
            init_messages += load_start(detector, weights)
        elif resume_path is None and (recipe.model.norm != "batch" or recipe.schedule.frozen_stages):
            init_messages.append(
                "no --init: batch norm or stages are frozen at random weights; r18_nano starts from none"
            )
        place(detector, config, process.device, precision)
        state = TrainingState(
            detector,
            None if recipe.schedule.ema is None else WeightAverage(detector, recipe.schedule.ema),
            make_optimizer(detector, recipe.schedule),
            schedule,
            make_run_config(config, index, precision),
        )
        if resume_path is not None:
            state.load_state_dict(read_file(resume_path).values, str(resume_path))
        state.schedule, lr_jump = resume_schedule(schedule, state.schedule, state.step, named)

        loader = make_loader(index, config, process, state.step, state.schedule.steps)
        check_shared_memory_of(loader, val_index, config, process)
        interval = validation_interval(config, state.schedule)
        hand_on = start_log(folder, config, process, state, listener, None if val_index is None else interval)
        note_left_out = open_left_out(folder, config, process, reports)
        if process.first:
            for line in (
                *(init_messages if state.step == 0 else ()),
                state.schedule.line(config.batch_size, len(index)),
            ):
                log.info(line)
            for line in (*ineffective(config, state.schedule), *([lr_jump] if lr_jump else [])):
                log.warning(line)
        compile_network(detector, config.runtime.compile)
        yield Run(
            config=config,
            process=process,
            folder=folder,
            index=index,
            val_index=val_index,
            validation_interval=interval,
            loader=loader,
            state=state,
            model=parallel(detector, process).train(),
            losses=paa_losses if config.runtime.compile == "off" else torch.compile(paa_losses),
            precision=precision,
            log=TrainingLog(hand_on, process, state.schedule, config.batch_size),
            finite=FiniteCheck(index, process, folder.last),
            note_left_out=note_left_out,
        )


def place(detector: Detector, config: TrainConfig, device: torch.device, precision: Precision) -> None:
    """Freeze what the recipe does not train, move the detector to its device, and lay it out for that, in place."""
    runtime = config.runtime
    detector.freeze(config.recipe.schedule.frozen_stages)
    detector.to(device)
    arrange(
        detector,
        channels_last=runtime.channels_last,
        fast_convolutions=runtime.fast_convolutions and runtime.compile == "off" and precision == "float32",
    )


def make_run_config(config: TrainConfig, index: DatasetIndex, precision: Precision) -> dict[str, object]:
    """Return the settings that must be the same when the run is resumed; its checkpoints hold them."""
    return {
        **to_dict(config.recipe),
        "batch_size": config.batch_size,
        "seed": config.runtime.seed,
        "precision": precision,
        "init": config.init,
        "images of the data set": len(index),
        "annotations of the data set": len(index.boxes),
    }


def validation_interval(config: TrainConfig, schedule: Schedule) -> int:
    """Return the number of steps between validations: the one that was set, else a tenth of the run."""
    return config.validation.interval or math.ceil(schedule.steps / 10)


def start_log(
    folder: RunFolder,
    config: TrainConfig,
    process: Process,
    state: TrainingState,
    listener: Listener,
    validation_interval: int | None,
) -> Listener:
    """Make or reopen the run's folder, write its config.json, and return the function that writes a record everywhere.

    That function returns what the listener returns. validation_interval: None without validation. RunError where the
    folder is not this run's. Processes other than the first write nothing.
    """
    if not process.first:
        return ignore
    resumed_here = config.resume == "last" or (
        config.resume is not None and config.resume.resolve().parent == folder.path.resolve()
    )
    folder.lock()
    if not resumed_here:
        folder.check_empty()
    elif config.resume == "last" and state.step == 0 and folder.checkpoint_to_resume() is not None:
        raise RunError(f"{folder.path}: another process trained this run meanwhile; give the same command again")
    folder.clean()
    saving_steps = [state.schedule.steps, config.runtime.checkpoint_interval, validation_interval]
    about = {
        "processes": process.world,
        "schedule": to_dict(state.schedule),
        "first_checkpoint": min(step for step in saving_steps if step is not None),
    }
    folder.write_config({**to_dict(config), **about})
    return folder.keep_open(open_log(folder, state, listener))
