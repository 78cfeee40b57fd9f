"""Training: read top to bottom, the loop is `run_steps`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from paa.config import InferenceConfig, LoadingConfig
from paa.core.losses import LossResult, paa_losses
from paa.data.batch import Batch
from paa.data.index import DatasetIndex
from paa.data.read_report import left_out_lines
from paa.data.workers import worker_errors
from paa.errors import PaaError
from paa.evaluation.dataset import evaluate_dataset
from paa.model.detector import Detector
from paa.model.prepare import compile_network, resolve_precision
from paa.runtime.contention import CpuShare
from paa.runtime.distributed import Process
from paa.training.checkpoint import State
from paa.training.finite import FiniteCheck
from paa.training.optimizer import set_lr
from paa.training.run_folder import RunFolder
from paa.training.run_log import Listener
from paa.training.schedule import Schedule
from paa.training.settings import TrainConfig
from paa.training.setup import NoteLeftOut, Training, parallel, prepare, validation_interval

log = logging.getLogger("paa")


def train(config: TrainConfig, process: Process, listen: Listener = lambda record: None) -> RunFolder:
    """Train, and return the run's folder; each record of the log goes to `listen` too (in the first process).

    Raises DataError, ConfigError, CheckpointError or RunError before anything is written, also where another process
    writes to the folder, and RunError, with the last good checkpoint kept, when a loss is not finite.
    """
    with RunFolder(config.output) as run, worker_errors():
        if process.first and run.path.is_dir():
            run.lock()
        run_steps(prepare(run, config, process, listen))
        return run


def run_steps(training: Training) -> None:
    """Train up to the schedule's last step, with lines of the log, checkpoints and evaluations when they are due."""
    config, process, run, state = training.config, training.process, training.run, training.state
    runtime, schedule, detector, average = config.runtime, training.schedule, training.detector, training.average
    compile_network(detector, runtime.compile)
    losses = paa_losses if runtime.compile == "off" else torch.compile(paa_losses)
    model = parallel(detector, process).train()
    check = FiniteCheck(training.index, process, run.last)
    validates, validate_every = training.val_index is not None, validation_interval(config, schedule)
    if state.validation_due:
        finish_validation(training)
    since, images, cpu_share = time.perf_counter(), 0, CpuShare()

    for batch in training.loader:
        batch = batch.to(process.device)
        set_lr(training.optimizer, schedule.lr_at(state.step))
        result, norm = optimize(
            model,
            detector,
            training.optimizer,
            batch,
            process,
            config.recipe.schedule.clip_norm,
            training.precision,
            losses,
        )
        if average is not None:
            average.update(state.step)
        state.step += 1
        check.add(state.step, result.losses, batch.positions)
        images += config.batch_size
        last = state.step == schedule.steps

        if last or state.step % runtime.log_interval == 0:
            speed = images / (time.perf_counter() - since)
            check.now()
            training.record(training_record(state, schedule, result, norm, process, speed, config.batch_size))
            if process.first and (remark := cpu_share.remark()):
                log.warning(remark)
            since, images = time.perf_counter(), 0
        state.validation_due = validates and (last or state.step % validate_every == 0)
        if state.validation_due:
            process.copy_from_first(training.evaluated.buffers())  # batch norm's updates differ between processes
        if state.validation_due or last or state.step % runtime.checkpoint_interval == 0:
            check.before_saving(state.step, detector, training.evaluated)
            training.save(run.last)
            training.note_left_out(config.data.train_split, training.loader.left_out)
        if state.validation_due:
            finish_validation(training)
            since, images = time.perf_counter(), 0
    left_out = training.note_left_out(config.data.train_split, training.loader.left_out)
    for line in left_out_lines(left_out, f"{config.data.train_split}, while training"):
        log.info(line)


def finish_validation(training: Training) -> None:
    """Evaluate what the last checkpoint holds; killed in here, the run begins with this when it is resumed."""
    if training.val_index is None:
        return
    run, state = training.run, training.state
    try:
        record = validate(
            training.evaluated, training.val_index, training.process, training.config, training.note_left_out
        )
    except PaaError as error:
        raise type(error)(f"{error} (validating step {state.step}, which {run.last} holds)") from error
    training.record({"step": state.step, **record})
    state.validation_due = False
    ap = record.get("AP") or 0.0
    if ap > state.best:
        state.best = ap
        training.save(run.best)
    training.save(run.last)


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


def validate(
    detector: Detector, index: DatasetIndex, process: Process, config: TrainConfig, note_left_out: NoteLeftOut
) -> dict[str, Any]:
    """Return the twelve COCO numbers on the validation set and the seconds they took, in the first process only.

    note_left_out: is called with the split and a line for each image that was left out, in all processes.
    """
    started = time.perf_counter()
    precision = resolve_precision(config.runtime.precision, process.device)
    inference = InferenceConfig(voting=config.validation.voting, precision=precision)
    runtime = config.runtime
    loading = LoadingConfig(runtime.workers, runtime.worker_timeout, config.validation.batch_size, config.data.skip_bad)
    evaluated = evaluate_dataset(detector, index, process, inference, loading)
    note_left_out(config.data.val_split, [] if evaluated is None else evaluated.left_out)
    if evaluated is None:
        return {}
    return {**evaluated.metrics.summary, "evaluation_seconds": round(time.perf_counter() - started, 2)}


def training_record(
    state: State,
    schedule: Schedule,
    result: LossResult,
    norm: Tensor | None,
    process: Process,
    speed: float,
    batch_size: int,
) -> dict[str, Any]:
    """Return one line of the log: the losses of this step averaged over processes, learning rate, speed, time left."""
    values = process.mean(torch.stack([loss.detach() for loss in result.losses.values()])).tolist()
    record: dict[str, Any] = {"step": state.step, "steps": schedule.steps, "loss": sum(values)}
    record.update({f"loss_{name}": value for name, value in zip(result.losses, values)})
    record["positives"] = result.num_positives.item()
    if norm is not None:
        record["gradient_norm"] = norm.item()
    record["lr"] = schedule.lr_at(state.step - 1)
    record["images_per_second"] = round(speed, 3)
    record["seconds_left"] = round((schedule.steps - state.step) * batch_size / speed, 1)
    return record
