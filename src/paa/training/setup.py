"""Setting up a run: everything is read, built and checked before the first file is written."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from paa.assigners.rule_text import parse_rule
from paa.assigners.trial import try_rule
from paa.config import Precision, Recipe, flat, to_dict
from paa.core.assignment import Assigner
from paa.core.losses import paa_losses
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport
from paa.data.transforms import Resize
from paa.errors import RunError
from paa.explanation.history import History
from paa.model.detector import Detector
from paa.model.prepare import compile_network, prepare_for_device, resolve_precision
from paa.runtime.distributed import Process
from paa.training.agreement import agree_on_checkpoint
from paa.training.assignment_watch import (
    AssignmentWatch,
    Watch,
    images_watched_before,
    watch_interval,
    watch_nothing,
    watched_images,
)
from paa.training.auto import resolve_auto
from paa.training.average import WeightAverage
from paa.training.card import CardFacts, options_of
from paa.training.finite import FiniteCheck
from paa.training.fit_batch import fit_batch
from paa.training.init import resolve_init
from paa.training.interruption import Interruption
from paa.training.log import TrainingLog
from paa.training.optimizer import make_optimizer
from paa.training.parallel import parallel
from paa.training.records import Listener, OnAssignment, ignore, ignore_assignment
from paa.training.run import Run
from paa.training.run_config import make_run_config
from paa.training.run_data import (
    check_shared_memory_of,
    cut_tiles,
    first_images,
    make_loader,
    open_left_out,
    read_data,
    repeat_line,
)
from paa.training.run_folder import RunFolder
from paa.training.run_log import open_log
from paa.training.schedule import Schedule, make_schedule, resume_schedule
from paa.training.settings import TrainConfig, assigner_of, check_settings, check_shares, ineffective, sizes_apart
from paa.training.state import TO_RESUME, TrainingState
from paa.training.statistics import Statistics
from paa.training.teacher import make_teacher
from paa.weights.files import read_file
from paa.weights.read import is_name
from paa.weights.start import load_start
from paa.weights.state import BackboneWeights, Weights

log = logging.getLogger("paa")


@contextmanager
def set_up(
    config: TrainConfig,
    process: Process,
    listener: Listener,
    interruption: Interruption,
    assigner: Assigner | None = None,
    on_assignment: OnAssignment = ignore_assignment,
) -> Iterator[Run]:
    """Yield a run that is ready for its next step: its first one or, resumed, the one after its checkpoint.

    The arguments are those of `train`.

    The run's folder is locked as soon as it exists, and its files are closed at the end. The data that was read, the
    schedule and options without an effect are logged.
    """
    with RunFolder(config.output) as folder:
        if process.first and folder.path.is_dir():
            folder.lock()
        resume_path = config.resume if config.resume != "last" else None
        if config.resume == "last":
            resume_path = agree_on_checkpoint(process, folder.checkpoint_to_resume)
        check_settings(config, process.world)
        rule, rule_text = assigner_of(config) if assigner is None else assigner, config.recipe.assigner

        reports = ReadReport(), ReadReport()
        validate = config.validation.batch_size > 0
        images, val_index, val_source = read_data(config.data, validate, *reports, config.named_in("data"))
        val_index = None if val_index is None else first_images(val_index, config.validation.limit)
        if val_index is not None and val_index.crowd.all():
            log.warning("the validation images have no objects: AP is undefined, and best.pt is the last checkpoint")

        config, auto_messages = resolve_auto(config, images, process, resume_path)
        if assigner is None and config.recipe.assigner != rule_text:  # that of the run that is resumed
            rule = assigner_of(config)
        check_shares(config, process.world)
        config, weights, init_messages = resolve_init(config, resume_path)
        # one from a text is tried already, with the paper's levels
        if assigner is not None or parse_rule(config.recipe.assigner).is_code:
            try_rule(rule, config.recipe.assigner, config.recipe.model.strides)
        index, tile_messages = cut_tiles(images, config)
        config = fit_batch(config, index, process, rule)

        precision = resolve_precision(config.runtime.precision, process.device)
        detector, messages = make_detector(config, index.names, weights, resume_path)
        place(detector, config, process.device, precision)
        teacher = make_teacher(config, detector, rule, precision)
        state, lr_jump = make_state(config, detector, index, val_index, precision, resume_path)
        state.validation_due = state.validation_due and validate  # which may be switched off in a resumed run
        if resume_path is not None and resume_path.parent.resolve() != folder.path.resolve():
            if process.first and state.best > 0:
                log.info(f"the best checkpoint so far stays in {resume_path.parent}; {folder.path} begins without one")
            state.forget_best()
        loader = make_loader(index, config, process, state.step, state.schedule.steps)
        check_shared_memory_of(loader, val_index, config, process)

        interval = validation_interval(config, state.schedule)
        record: Listener = ignore
        watch: Watch = watch_nothing
        write_card: Callable[[int], None] = write_nothing
        if process.first:
            claim_folder(folder, config, state, resume_path)
            recipe = as_recipe(config, state.schedule, precision)
            parameters = logged_parameters(config, recipe, index)
            # first, as a server that is away leaves the folder empty
            record = folder.keep_open(open_log(folder, state, listener, config.runtime.loggers, parameters))
            saving = [state.schedule.steps, config.runtime.checkpoint_interval]
            first_checkpoint = min([*saving, interval] if validate else saving)
            about = {"processes": process.world, "schedule": to_dict(state.schedule)}
            folder.write_config({**to_dict(config), **about, "first_checkpoint": first_checkpoint})
            folder.write_recipe(recipe)
            about_model = (config.data.name, images, val_index, val_source, recipe, config.batch_size, config.card)
            write_card = partial(
                folder.write_card, CardFacts(folder.path.resolve().name, *about_model, options_of(config))
            )
            write_card(state.step)
            watch = make_watch(config, folder, state, precision, rule, val_index, index, process.world)
            start_messages = auto_messages + init_messages + messages
            log_start(config, index, state, process.device, resume_path, start_messages, tile_messages, lr_jump)
        note_left_out = open_left_out(folder, config, process, reports)

        compile_network(detector, config.runtime.compile)
        yield Run(
            config=config,
            process=process,
            folder=folder,
            val_index=val_index,
            validation_interval=interval,
            loader=loader,
            state=state,
            model=parallel(detector, process).train(),
            losses=paa_losses if config.runtime.compile == "off" else torch.compile(paa_losses),
            assigner=rule,
            on_assignment=on_assignment,
            teacher=teacher,
            precision=precision,
            log=TrainingLog(record, process, state.schedule, config.batch_size),
            finite=FiniteCheck(index, process, state, folder, config.runtime.max_bad_steps),
            statistics=Statistics(detector),
            note_left_out=note_left_out,
            interruption=interruption,
            first_step=state.step,
            watch=watch,
            write_card=write_card,
        )


def make_detector(
    config: TrainConfig, names: tuple[str, ...], weights: Weights | BackboneWeights | None, resume_path: Path | None
) -> tuple[Detector, list[str]]:
    """Return a detector with the weights to start from, fresh where there are none, and log lines about them."""
    torch.manual_seed(config.runtime.seed)
    detector = Detector(config.recipe.model, names)
    detector.head.start_classes_at(config.recipe.schedule.prior_probability)
    if weights is not None:
        lines = load_start(detector, weights)
        fresh = isinstance(weights, BackboneWeights) or not set(names) <= set(weights.class_names() or names)
        if "schedule.prior_probability" in config.named and not fresh:
            lines.append(f"schedule.prior_probability has no effect: {weights.source} has all classes")
        return detector, lines
    frozen = config.recipe.model.norm != "batch" or config.recipe.schedule.frozen_stages
    if resume_path is None and frozen:
        return detector, ["no --init: batch norm or stages are frozen at random weights; recipe r18_nano needs none"]
    return detector, []


def place(detector: Detector, config: TrainConfig, device: torch.device, precision: Precision) -> None:
    """Freeze what the recipe does not train, move the detector to its device, and make it fast there, in place."""
    runtime = config.runtime
    detector.freeze(config.recipe.schedule.frozen_stages)
    detector.to(device)
    prepare_for_device(
        detector,
        channels_last=runtime.channels_last,
        fast_convolutions=runtime.fast_convolutions and runtime.compile == "off" and precision == "float32",
    )


def make_state(
    config: TrainConfig,
    detector: Detector,
    index: DatasetIndex,
    val_index: DatasetIndex | None,
    precision: Precision,
    resume_path: Path | None,
) -> tuple[TrainingState, str | None]:
    """Return the state of a run at its first step or at its checkpoint, and a line if its learning rate jumps there.

    detector: where it is trained, before the weights of a checkpoint are loaded into it.
    """
    schedule_config, named = config.recipe.schedule, config.named_in("schedule")
    schedule = make_schedule(schedule_config, config.batch_size, len(index), named)
    state = TrainingState(
        detector,
        None if schedule_config.ema is None else WeightAverage(detector, schedule_config.ema),
        make_optimizer(detector, schedule_config),
        schedule,
        make_run_config(config, index, val_index, precision),
    )
    if resume_path is not None:
        state.load_state_dict(read_file(resume_path, TO_RESUME).values, str(resume_path))
    state.schedule, lr_jump = resume_schedule(schedule, state.schedule, state.step, named)
    return state, lr_jump


def as_recipe(config: TrainConfig, schedule: Schedule, precision: Precision) -> Recipe:
    """Return the recipe of a run, from which the same run starts again: nothing in it is scaled or decided later.

    The files of `init` and `teacher` have their whole paths, so that the recipe may be used in another folder.
    """
    resolved = replace(
        config.recipe.schedule,
        steps=schedule.steps,
        epochs=None,
        decays=schedule.decays,
        reference_batch=config.batch_size,
        lr=schedule.lr,
        warmup_steps=schedule.warmup_steps,
    )
    init, teacher = _whole_path(config.init), _whole_path(config.recipe.teacher)
    return replace(config.recipe, schedule=resolved, init=init, precision=precision, teacher=teacher)


def _whole_path(given: str | None) -> str | None:
    """Return the absolute path of a file, also of one that a resumed run does not need any more; a name as it is."""
    if given is None or (is_name(given) and not Path(given).exists()):
        return given
    return str(Path(given).absolute())


def write_nothing(step: int) -> None:
    """Write no card, in the processes that write no files."""


def logged_parameters(config: TrainConfig, recipe: Recipe, index: DatasetIndex) -> dict[str, object]:
    """Return what loggers show of a run beside its numbers: the recipe, and what else decides the result."""
    return {
        **flat(to_dict(recipe)),
        "batch_size": config.batch_size,
        "accumulate": config.accumulate,
        "seed": config.runtime.seed,
        "data": config.data.name,
        "images": len(index),
        "objects": int((~index.crowd).sum()),
    }


def validation_interval(config: TrainConfig, schedule: Schedule) -> int:
    """Return the number of steps between validations: the one that was set, else a tenth of the run."""
    return config.validation.interval or math.ceil(schedule.steps / 10)


def make_watch(
    config: TrainConfig,
    folder: RunFolder,
    state: TrainingState,
    precision: Precision,
    rule: Assigner,
    val_index: DatasetIndex | None,
    index: DatasetIndex,
    world: int,
) -> Watch:
    """Return what looks at the assignment of some images, of the validation set if there is one.

    Where the run trains on tiles, these are tiles to train on: whole images would be larger than any that it sees.
    There are no more than half as many as a process has at a time, so that a look costs little beside a step. A run
    that is resumed goes on with its images, whatever its parts and processes are; without these it begins its history
    anew, beside the one before. world: the number of processes.
    """
    runtime, model, augment = config.runtime, config.recipe.model, config.recipe.augment
    interval = watch_interval(runtime.assignment_interval, runtime.log_interval, state.schedule)
    if not interval:
        return watch_nothing
    half_a_batch = max(1, config.batch_size // (2 * world * config.accumulate))
    history, val = History(folder.path), val_index if augment.tiles is None else None
    images = images_watched_before(history, val, index)
    if images is None:
        if aside := history.restart():
            log.warning(f"the images whose assignment is recorded are not in this run any more: it is in {aside} now")
        images = watched_images(val, index, half_a_batch)
    size = (model.min_size, model.max_size) if augment.tiles is None else (max(augment.min_sizes), augment.max_size)
    return AssignmentWatch(
        state.detector,
        images,
        Resize(*size, model.legacy),
        rule,
        precision,
        history,
        interval,
        state.schedule.steps,
        runtime.compile != "off",
    )


def claim_folder(folder: RunFolder, config: TrainConfig, state: TrainingState, resume_path: Path | None) -> None:
    """Lock the folder, create it if it does not exist, and remove what a killed process left half-written in it.

    RunError if another process writes to it, if it is not empty and its run is not the one that is resumed, if its last
    checkpoint is later than the one that is resumed, and if another process has saved a checkpoint in it since this
    process found none.
    """
    folder.lock()
    if config.resume == "last":
        if state.step == 0 and folder.checkpoint_to_resume() is not None:
            raise RunError(f"{folder.path}: another process trained this run meanwhile; give the same command again")
    elif config.resume is None or config.resume.parent.resolve() != folder.path.resolve():
        folder.check_empty()
    else:
        folder.check_last(config.resume, state.step)
    folder.clean()
    if resume_path is not None and resume_path.name == folder.previous.name:
        folder.set_damaged_aside()


def log_start(
    config: TrainConfig,
    index: DatasetIndex,
    state: TrainingState,
    device: torch.device,
    resume_path: Path | None,
    start_messages: list[str],
    tile_messages: list[str],
    lr_jump: str | None,
) -> None:
    """Log what a person should know before the next step; `start_messages` are for a run's first step only."""
    for line in start_messages if state.step == 0 else []:
        log.info(line)
    if resume_path is not None:
        log.info(f"resumed from {resume_path}: {state.step} of {state.schedule.steps} steps are done")
    for line in [*tile_messages, state.schedule.line(config.batch_size, len(index))]:
        log.info(line)
    if threshold := config.recipe.augment.repeat_threshold:
        log.info(repeat_line(index, threshold))
    model = config.recipe.model
    if config.runtime.deterministic and device.type == "cuda" and (model.dcn_stages or model.tower_dcn):
        # torch does not know of torchvision's operator, which adds up gradients in no fixed order
        log.warning("deformable convolutions have no deterministic form on GPUs: two runs may differ")
    for line in [*ineffective(config, state.schedule), *sizes_apart(config), *([lr_jump] if lr_jump else [])]:
        log.warning(line)
