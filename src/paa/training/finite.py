"""Losses and weights that became infinite or NaN stop a run before they reach a checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from paa.data.index import DatasetIndex
from paa.errors import RunError
from paa.model.detector import Detector
from paa.runtime.distributed import Process


class FiniteCheck:
    """Stops the run when a loss is not finite, and says at which step and with which images.

    A step's losses are copied to the host while the next step runs, and checked then, so that a GPU never waits. last:
    the path of the run's last checkpoint, which the message names if it exists.
    """

    def __init__(self, index: DatasetIndex, process: Process, last: Path | None = None) -> None:
        self.index, self.process, self.last = index, process, last
        self._kept: tuple[int, Tensor, torch.cuda.Event | None, Tensor] | None = None

    def add(self, step: int, losses: dict[str, Tensor], positions: Tensor) -> None:
        """Check the losses of the step before, and keep those of this step for the next call.

        positions (B,): the positions of the step's images in the data set.
        """
        self.check_now()
        # the mean over the processes, so that all of them stop at the same step
        values = self.process.mean(torch.stack([loss.detach() for loss in losses.values()]))
        copied = None
        if values.is_cuda:
            values = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        self._kept = (step, values, copied, positions)

    def check_now(self) -> None:
        """Check the losses that are kept, if there are any; RunError unless they are finite."""
        if self._kept is None:
            return
        step, losses, copied, positions = self._kept
        self._kept = None
        if copied is not None:
            copied.synchronize()
        if not bool(losses.isfinite().all()):
            mine = [self.index.path(i).name for i in positions.tolist()]
            images = ", ".join(name for names in self.process.gather(mine) for name in names)
            raise RunError(
                f"the loss of step {step} is not finite ({', '.join(f'{v:.4g}' for v in losses.tolist())}); "
                f"its images: {images}. {self._remedy()}"
            )

    def before_saving(self, step: int, *detectors: Detector) -> None:
        """Check the losses that are kept, and all weights after this step; RunError unless they are finite."""
        self.check_now()
        tensors = [named for detector in dict.fromkeys(detectors) for named in detector.state_dict().items()]
        finite = torch.stack([tensor.isfinite().all() for _, tensor in tensors]).tolist()
        if not all(finite):
            raise RunError(f"step {step} left {tensors[finite.index(False)][0]} infinite or NaN. {self._remedy()}")

    def _remedy(self) -> str:
        saved = self.last is not None and self.last.exists()
        kept = f"{self.last} is from an earlier step" if saved else "No checkpoint was saved before"
        return f"{kept}; a lower learning rate (schedule.lr) or clipped gradients (schedule.clip_norm) may help"
