"""Training: read top to bottom, the loop is `train`."""

from __future__ import annotations

import inspect
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from paa.config import DataConfig, InferenceConfig, to_dict
from paa.data.augment import TrainTransform
from paa.data.batch import Batch
from paa.data.index import DatasetIndex
from paa.data.loader import Loader, eval_loader, train_loader
from paa.data.overlap import shared_images
from paa.data.read import read_dataset
from paa.data.report import ReadReport, left_out_lines
from paa.data.workers import check_shared_memory, worker_errors
from paa.engine.average import WeightAverage
from paa.engine.checkpoint import State, model_of, restore, save
from paa.engine.contention import CpuShare
from paa.engine.distributed import Process
from paa.engine.evaluate import detect_dataset
from paa.engine.finite import FiniteCheck
from paa.engine.left_out import LeftOut
from paa.engine.metrics import evaluate
from paa.engine.optimizer import make_optimizer, set_rate
from paa.engine.run_folder import RunFolder
from paa.engine.run_log import Listener, open_log
from paa.engine.schedule import Schedule, make_schedule, resume_schedule
from paa.engine.settings import TrainConfig, check_settings, ineffective
from paa.engine.speed import arrange, compile_network, resolve_precision
from paa.errors import ConfigError, PaaError, RunError
from paa.losses import LossResult, paa_losses
from paa.model.detector import Detector
from paa.weights.read import read_start
from paa.weights.start import load_start, starting_model
from paa.weights.state import BackboneWeights, Weights

log = logging.getLogger("paa")

_WRAPPER_OPTIONS = inspect.signature(DistributedDataParallel).parameters
_BUFFER_OPTION = "forward_sync_buffers" if "forward_sync_buffers" in _WRAPPER_OPTIONS else "broadcast_buffers"
"""The first from torch 2.15 on."""

NoteLeftOut = Callable[[str, list[str]], list[str]]


def train(config: TrainConfig, process: Process, listen: Listener = lambda record: None) -> RunFolder:
    """Train, and return the run's folder; each record of the log goes to `listen` too (in the first process).

    Raises DataError, ConfigError, CheckpointError or RunError before anything is written, also where another process
    writes to the folder, and RunError, with the last good checkpoint kept, when a loss is not finite.
    """
    with RunFolder(config.output) as run, worker_errors():
        if process.first and run.path.is_dir():
            run.lock()
        return train_in(run, config, process, listen)


def train_in(run: RunFolder, config: TrainConfig, process: Process, listen: Listener) -> RunFolder:
    """Train in a folder that is locked, if it exists."""
    state, jump = State(), None
    going_on = run.checkpoint_to_resume() if config.resume == "last" else config.resume
    config, start, told_of_start = follow_start(config, going_on)
    check_settings(config, process.world)
    recipe, runtime = config.recipe, config.runtime
    torch.manual_seed(runtime.seed)
    reports = ReadReport(), ReadReport()
    index, val_index = read_data(config.data, config.validation.batch_size > 0, *reports)
    if val_index is not None and config.validation.limit is not None:
        val_index = val_index.select(np.arange(min(config.validation.limit, len(val_index))))
    detector = Detector(recipe.model, index.names)
    if start is not None:
        told_of_start += load_start(detector, start)
    elif going_on is None and (recipe.model.norm != "batch" or recipe.schedule.frozen_stages):
        told_of_start.append("no --init: batch norm or stages are frozen at random weights; r18_nano starts from none")
    schedule = make_schedule(recipe.schedule, config.batch_size, len(index), config.named_in("schedule"))
    detector.freeze(recipe.schedule.frozen_stages)
    detector.to(process.device)
    precision = resolve_precision(runtime.precision, process.device)
    arrange(
        detector,
        channels_last=runtime.channels_last,
        fast_convolutions=runtime.fast_convolutions and runtime.compile == "off" and precision == "float32",
    )
    average = None if recipe.schedule.ema is None else WeightAverage(detector, recipe.schedule.ema)
    evaluated = detector if average is None else average.detector
    optimizer = make_optimizer(detector, recipe.schedule)
    told = {
        **to_dict(recipe),
        "batch_size": config.batch_size,
        "seed": runtime.seed,
        "precision": precision,
        "init": config.init,
        "pictures of the data set": len(index),
        "annotations of the data set": len(index.boxes),
    }
    if going_on is not None:
        restore(going_on, evaluated, detector, optimizer, state, told)
        schedule, jump = resume_schedule(schedule, state.schedule, state.step, config.named_in("schedule"))
    state.schedule = asdict(schedule)
    loader = train_loader(
        index,
        TrainTransform(**vars(recipe.pictures), legacy=recipe.model.legacy),
        batch_size=config.batch_size,
        seed=runtime.seed,
        steps=schedule.steps,
        start_step=state.step,
        rank=process.rank,
        world=process.world,
        workers=runtime.workers,
        worker_timeout=runtime.worker_timeout,
        skip_bad=config.data.skip_bad,
        pin_memory=process.device.type == "cuda",
    )
    check_room(loader, val_index, detector, config, process)
    save_every = runtime.checkpoint_interval
    validate_every = config.validation.interval or math.ceil(schedule.steps / 10)
    first_checkpoint = min(schedule.steps, save_every, schedule.steps if val_index is None else validate_every)
    record_all = start_log(config, run, process, state, listen, first_checkpoint)
    note_left_out = open_left_out(run, config, process, reports)
    if process.first:
        for line in (*(told_of_start if state.step == 0 else ()), schedule.line(config.batch_size, len(index))):
            log.info(line)
        for line in (*ineffective(config, schedule), *([jump] if jump else [])):
            log.warning(line)
    compile_network(detector, runtime.compile)
    losses = paa_losses if runtime.compile == "off" else torch.compile(paa_losses)
    model = parallel(detector, process).train()
    check = FiniteCheck(index, process, run.last)

    def keep(path: Path) -> None:
        save(path, evaluated, detector, optimizer, state, told, process)

    def finish_validation() -> None:
        """Evaluate what the last checkpoint holds; killed in here, the run begins with this when it is resumed."""
        if val_index is None:
            return
        try:
            record = validate(evaluated, val_index, process, config, note_left_out)
        except PaaError as error:
            raise type(error)(f"{error} (validating step {state.step}, which {run.last} holds)") from error
        record_all({"step": state.step, **record})
        state.validation_due = False
        ap = record.get("AP") or 0.0
        if ap > state.best:
            state.best = ap
            keep(run.best)
        keep(run.last)

    if state.validation_due:
        finish_validation()
    since, pictures, cpu_share = time.perf_counter(), 0, CpuShare()

    for batch in loader:
        batch = batch.to(process.device)
        set_rate(optimizer, schedule.rate_at(state.step))
        result, norm = optimize(
            model, detector, optimizer, batch, process, recipe.schedule.clip_norm, precision, losses
        )
        if average is not None:
            average.update(state.step)
        state.step += 1
        check.add(state.step, result.losses, batch.positions)
        pictures += config.batch_size

        if state.step % runtime.log_interval == 0 or state.step == schedule.steps:
            rate = pictures / (time.perf_counter() - since)
            check.now()
            record_all(training_record(state, schedule, result, norm, process, rate, config.batch_size))
            if process.first and (remark := cpu_share.remark()):
                log.warning(remark)
            since, pictures = time.perf_counter(), 0
        last = state.step == schedule.steps
        state.validation_due = val_index is not None and (last or state.step % validate_every == 0)
        if state.validation_due:
            process.copy_from_first(evaluated.buffers())  # batch norm's updates, which each process has its own of
        if state.validation_due or last or state.step % save_every == 0:
            check.before_saving(state.step, detector, evaluated)
            keep(run.last)
            note_left_out(config.data.train_split, loader.left_out)
        if state.validation_due:
            finish_validation()
            since, pictures = time.perf_counter(), 0
    left_out = note_left_out(config.data.train_split, loader.left_out)
    for line in left_out_lines(left_out, f"{config.data.train_split}, while training"):
        log.info(line)
    return run


def optimize(
    model: nn.Module,
    detector: Detector,
    optimizer: Optimizer,
    batch: Batch,
    process: Process,
    clip_norm: float | None,
    precision: str,
    losses: Callable[..., LossResult] = paa_losses,
) -> tuple[LossResult, Tensor | None]:
    """One step: head outputs, assignment and losses, gradients, weights. `model` is the detector or its DDP wrapper.

    losses: `paa_losses`, or it compiled. Returns the losses, and the gradients' norm where they are clipped.
    """
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        outputs = model(batch.images, batch.sizes)
    result = losses(
        outputs,
        detector.anchors(outputs),
        batch.gt_boxes,
        batch.gt_labels,
        legacy=detector.config.legacy,
        average=process.mean,
    )
    optimizer.zero_grad()
    torch.stack(list(result.losses.values())).sum().backward()
    trained = [p for p in detector.parameters() if p.requires_grad]
    norm = None if clip_norm is None else nn.utils.clip_grad_norm_(trained, clip_norm)
    optimizer.step()
    return result, norm


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
    takes its own pictures'.
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


def validate(
    detector: Detector, index: DatasetIndex, process: Process, config: TrainConfig, note_left_out: NoteLeftOut
) -> dict[str, Any]:
    """Return the twelve COCO numbers on the validation set and the seconds they took, in the first process only.

    note_left_out: is called with the split and a line for each image that was left out, in all processes.
    """
    started = time.perf_counter()
    index, table, left_out = detect_dataset(
        detector,
        index,
        process,
        batch_size=config.validation.batch_size,
        workers=config.runtime.workers,
        worker_timeout=config.runtime.worker_timeout,
        skip_bad=config.data.skip_bad,
        inference=InferenceConfig(voting=config.validation.voting),
        precision=resolve_precision(config.runtime.precision, process.device),
    )
    note_left_out(config.data.val_split, left_out)
    if not process.first:
        return {}
    metrics = evaluate(index, table)
    return {**metrics.summary, "evaluation_seconds": round(time.perf_counter() - started, 2)}


def training_record(
    state: State,
    schedule: Schedule,
    result: LossResult,
    norm: Tensor | None,
    process: Process,
    rate: float,
    batch_size: int,
) -> dict[str, Any]:
    """Return one line of the log: the losses of this step averaged over processes, rate, speed, time left."""
    values = process.mean(torch.stack([loss.detach() for loss in result.losses.values()])).tolist()
    record: dict[str, Any] = {"step": state.step, "steps": schedule.steps, "loss": sum(values)}
    record.update({f"loss_{name}": value for name, value in zip(result.losses, values)})
    record["positives"] = result.positives.item()
    if norm is not None:
        record["gradient_norm"] = norm.item()
    record["rate"] = schedule.rate_at(state.step - 1)
    record["pictures_per_second"] = round(rate, 3)
    record["seconds_left"] = round((schedule.steps - state.step) * batch_size / rate, 1)
    return record


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
        needed += eval_loader(
            val_index,
            short=detector.config.test_short,
            longest=detector.config.test_longest,
            batch_size=config.validation.batch_size,
            world=process.world,
            workers=config.runtime.workers,
        ).shared_bytes
    check_shared_memory(needed * process.on_host)
