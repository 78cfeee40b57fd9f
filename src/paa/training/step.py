"""One step of training: the gradients of a batch, whole or in several parts, and the change of the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from paa.core.assignment import Assigner
from paa.core.losses import LossResult
from paa.core.outputs import HeadOutputs
from paa.data.batch import Batch
from paa.model.detector import autocast
from paa.training.optimizer import step_if
from paa.training.parallel import local_gradients
from paa.training.run import Run
from paa.training.step_result import StepResult


def train_step(run: Run, parts: Sequence[Batch]) -> StepResult:
    """Predict, assign, take the gradients of the losses, and change the weights, if losses and gradients are finite.

    Otherwise weights, optimizer and batch norm's statistics stay as they are; all processes decide alike, and no device
    is waited for. They stay so, too, where an error is raised before the weights change.

    parts: this process's images; in several parts the step needs the memory of one, and the gradient is that of the
    whole batch, where batch norm's statistics are fixed. The losses are sums divided by the positives, and by the IoUs,
    of all parts, so these are counted first, which takes a second forward pass, without gradients. To accumulate the
    gradients of the two kinds of losses apart, and divide them at the end, would take a second backward pass instead,
    which is longer, and memory for a second set of gradients.
    """
    optimizer, clip_norm = run.state.optimizer, run.config.recipe.schedule.clip_norm
    optimizer.zero_grad()
    run.statistics.remember()
    try:
        losses, num_positives = _gradients(run, parts)
    except BaseException:
        run.statistics.restore()
        raise
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in trained if parameter.grad is not None])
    checked = run.process.mean(torch.stack([*losses.values(), norm]))
    finite = checked.isfinite().all()
    if clip_norm is not None:
        nn.utils.clip_grads_with_norm_(trained, clip_norm, norm)
    run.statistics.restore(unless=finite)
    step_if(finite, optimizer)
    return StepResult(losses, num_positives, norm, checked, finite)


def _gradients(run: Run, parts: Sequence[Batch]) -> tuple[dict[str, Tensor], Tensor]:
    """Add the gradients of a step's losses to the parameters; return the losses and the number of positives."""
    average: Callable[[Tensor], Tensor] = run.process.mean
    # before the student's forward pass, whose memory is the step's; an assignment itself is small
    assigners = [run.assigner if run.teacher is None else run.teacher.assign(part) for part in parts]
    if len(parts) > 1:
        normalisers = run.process.mean(_normalisers(run, parts, assigners))
        average = lambda _: normalisers  # noqa: E731
    losses: dict[str, Tensor] = {}
    for number, (part, assigner) in enumerate(zip(parts, assigners)):
        with nullcontext() if part is parts[-1] else local_gradients(run.model):
            outputs = _predict(run, run.model, part, number)
            result = _losses(run, outputs, part, assigner, average)
            run.on_assignment(part, outputs, result.assignment)
            torch.stack(list(result.losses.values())).sum().backward()
        losses = {name: losses.get(name, 0) + loss.detach() for name, loss in result.losses.items()}
    return losses, result.num_positives


def _predict(run: Run, model: nn.Module, part: Batch, number: int) -> HeadOutputs:
    """Return what the head predicts for some images. number: which part of the step they are.

    What a backbone leaves out at random (dropout, stochastic depth) depends on nothing but seed, step, process and
    part: it is the same in a resumed run, and when a part's positives are counted and when its gradient is taken.
    """
    place = run.config.runtime.seed, run.state.step, run.process.rank, number
    torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
    with autocast(run.precision, part.images.device):
        outputs: HeadOutputs = model(part.images, part.sizes)
    return outputs


def _losses(
    run: Run, outputs: HeadOutputs, part: Batch, assigner: Assigner, average: Callable[[Tensor], Tensor]
) -> LossResult:
    """Return the losses of some images; assigner, average: see `paa_losses`."""
    detector = run.state.detector
    return run.losses(
        outputs,
        detector.anchors(outputs),
        part.gt_boxes,
        part.gt_labels,
        assigner=assigner,
        legacy=detector.config.legacy,
        average=average,
    )


@torch.no_grad()
def _normalisers(run: Run, parts: Sequence[Batch], assigners: Sequence[Assigner]) -> Tensor:
    """Return this process's positives and sum of IoUs (2,) in all parts; batch norm's statistics stay as they are."""
    detector = run.state.detector
    results = [
        _losses(run, _predict(run, detector, part, number), part, assigner, lambda values: values)
        for number, (part, assigner) in enumerate(zip(parts, assigners))
    ]
    run.statistics.restore()  # to what they were before this step
    return torch.stack([torch.stack([result.num_positives, result.iou_sum]) for result in results]).sum(0)
