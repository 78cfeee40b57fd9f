"""Training: `train` is the loop, from the first step to the last."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch

from paa.config import InferenceConfig, LoadingConfig
from paa.core.assignment import Assigner
from paa.data.batch import Batch
from paa.data.read_report import left_out_lines
from paa.data.workers import worker_errors
from paa.errors import PaaError, RunError
from paa.evaluation.dataset import evaluate_dataset
from paa.evaluation.metrics_dict import metrics_dict
from paa.runtime.determinism import deterministic
from paa.runtime.distributed import Process
from paa.runtime.out_of_memory import is_out_of_memory
from paa.runtime.stop_signals import StoppedError, StopSignals
from paa.training.interruption import Interruption
from paa.training.memory import step_too_large
from paa.training.optimizer import set_lr
from paa.training.records import Listener, OnAssignment, TrainResult, ignore, ignore_assignment
from paa.training.run import Run
from paa.training.settings import TrainConfig
from paa.training.setup import set_up
from paa.training.step import train_step
from paa.training.step_result import StepResult
from paa.training.time_limit import TimeLimit

log = logging.getLogger("paa")


def train(
    config: TrainConfig,
    process: Process,
    listener: Listener = ignore,
    signals: StopSignals | None = None,
    assigner: Assigner | None = None,
    on_assignment: OnAssignment = ignore_assignment,
) -> TrainResult:
    """Train up to the schedule's last step, until the listener returns `STOP`, or until the run is out of patience.

    listener: gets every record of the log, in the first process. signals: those that end the run after a checkpoint is
    saved, as does its time (`runtime.max_hours`); StoppedError if one comes before the run is set up or, where there
    are several processes, in a validation. assigner: the rule that the recipe names, where the caller has it already.
    on_assignment: gets what each step trains on, in every process. Raises DataError, ConfigError, CheckpointError or
    RunError (where another process writes to the folder, for example) before anything is written, and RunError, with
    the last good checkpoint kept, when losses or gradients are not finite in more steps in a row than may be skipped
    (`runtime.max_bad_steps`).
    """
    interruption = Interruption(process, signals or StopSignals(), TimeLimit(config.runtime.max_hours))
    with worker_errors(), ExitStack() as opened:
        if config.runtime.deterministic:  # before anything is computed
            opened.enter_context(deterministic(log.warning))
        with interruption.anywhere():
            run = opened.enter_context(set_up(config, process, listener, interruption, assigner, on_assignment))
        state, schedule = run.state, run.state.schedule
        if state.validation_due:
            validate(run)
        run.watch(state.step)
        run.log.restart_clock(state.step)

        for batches in run.steps():
            with interruption.limit.measured("step"):
                parts = [batch.to(process.device) for batch in batches]
                set_lr(state.optimizer, schedule.lr_at(state.step))
                result = _train_step(run, parts)
                if state.average is not None:
                    state.average.update(state.step, result.finite)
                state.step += 1
                run.finite.add(state.step, result, parts)

            if run.is_due(config.runtime.log_interval):
                run.finite.check_now()
                run.log.training(state.step, result, state.bad_steps, run.watch(state.step))
            state.validation_due = run.val_index is not None and run.is_due(run.validation_interval)
            interruption.check(*(["validation"] if state.validation_due else ["loading", "step"]), "saving")
            if state.validation_due or run.stopped or run.is_due(config.runtime.checkpoint_interval):
                run.save_step()
            if state.validation_due and not run.stopped:
                validate(run)
                run.log.restart_clock(state.step)

        if interruption.reason is not None and run.unfinished:
            log.info(
                f"interrupted by {interruption.reason} after step {state.step} of {schedule.steps}; --resume goes on"
            )
        elif run.out_of_patience and state.step < schedule.steps:
            log.info(
                f"stopped at step {state.step} of {schedule.steps}: AP was highest, {100 * state.best:.1f}, "
                f"{state.since_best} validation{'s' if state.since_best > 1 else ''} ago; {run.folder.best} is the one "
                "to use"
            )
        if (line := run.finite.summary()) is not None:
            log.warning(line)
        if not process.gather(run.folder.last.exists())[0]:  # a finished run that was resumed in another folder
            run.save_step()
        left_out = run.note_left_out(config.data.train_split, run.loader.left_out)
        for line in left_out_lines(left_out, f"{config.data.train_split}, while training"):
            log.info(line)
        run.write_card(state.step)
        return run.result()


def _train_step(run: Run, parts: Sequence[Batch]) -> StepResult:
    """Make a step; RunError where the device has no memory for it, after the steps before it are saved."""
    try:
        return train_step(run, parts)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        said = step_too_large(run.config, run.process, parts)
    # only now is what the step had computed freed, which the error held
    run.state.optimizer.zero_grad()
    if run.process.device.type == "cuda":
        torch.cuda.empty_cache()
    # other processes wait for this one inside the step, and cannot save
    where = run.saved_before() if run.process.world == 1 else f" (training step {run.state.step + 1})"
    raise RunError(f"{said}{where}")


def validate(run: Run) -> None:
    """Evaluate the weights in the last checkpoint, and save them as the best if their AP is the highest so far.

    As long as no AP was above 0, the last weights are the best: trained ones that find nothing yet. If the process
    is killed or interrupted during a validation, the resumed run begins with that validation.
    """
    state, folder = run.state, run.folder
    try:
        with run.interruption.anywhere(), run.interruption.limit.measured("validation"):
            metrics = evaluate_weights(run)
    except StoppedError:
        if run.process.world > 1:  # the others may wait for this one's share, or have finished theirs
            raise StoppedError(f"while step {state.step} was validated; --resume goes on") from None
        run.interruption.check()
        return
    except PaaError as error:
        raise type(error)(f"{error} (validating step {state.step}, which {folder.last} holds)") from error
    highest = {"highest_AP": state.best, "highest_AP_step": state.best_step} if state.best > 0 else {}
    run.log.validation(state.step, {**metrics, **highest})
    state.validation_due = False
    ap = run.process.gather(metrics.get("AP") or 0.0)[0]
    if ap > state.best or state.best <= 0:  # as long as nothing is found, patience has not begun
        state.best, state.best_step, state.since_best = ap, state.step, 0
        run.save(folder.best)
        if run.process.first:
            folder.keep_best_metrics()
    else:
        state.since_best += 1
    run.save(folder.last)
    run.write_card(state.step)


def evaluate_weights(run: Run) -> dict[str, Any]:
    """Return COCO's twelve numbers on the validation set and the seconds they took; {} but in the first process."""
    assert run.val_index is not None
    config, started = run.config, time.perf_counter()
    evaluated = evaluate_dataset(
        run.state.evaluated,
        run.val_index,
        run.process,
        InferenceConfig(voting=config.validation.voting, precision=run.precision, tiles=config.recipe.augment.tiles),
        LoadingConfig(
            workers=config.runtime.workers,
            worker_timeout=config.runtime.worker_timeout,
            batch_size=config.validation.batch_size,
            skip_bad=config.data.skip_bad,
        ),
    )
    run.note_left_out(config.data.val_split, [] if evaluated is None else evaluated.left_out)
    if evaluated is None:
        return {}
    run.folder.write_metrics(metrics_dict(evaluated))
    return {**evaluated.metrics.summary, "evaluation_seconds": round(time.perf_counter() - started, 2)}
