"""A detector trained by several processes at once."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from paa.model.detector import Detector
from paa.runtime.distributed import Process

_WRAPPER_OPTIONS = inspect.signature(DistributedDataParallel).parameters
_BUFFER_OPTION = "forward_sync_buffers" if "forward_sync_buffers" in _WRAPPER_OPTIONS else "broadcast_buffers"
"""The option that has buffers copied at each step; it has the first name from torch 2.15 on."""


def local_gradients(model: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which backward passes of `parallel`'s model add to this process's own gradients only.

    The first backward pass after the context averages all that was added.
    """
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def parallel(detector: Detector, process: Process) -> nn.Module:
    """Return the detector itself, or, where there are several processes, a wrapper that averages their gradients.

    On GPUs trained batch norm takes the statistics of the whole batch; on CPUs torch has no such layer, and each
    process takes those of its own images.
    """
    if process.world == 1:
        return detector
    if process.device.type == "cuda" and detector.config.norm == "batch":
        if detector.config.backbone.startswith("timm/"):
            from timm.layers.norm_act import convert_sync_batchnorm

            # torch's converter would drop the activations that are part of timm's norms
            convert_sync_batchnorm(detector)  # type: ignore[no-untyped-call]
        else:
            nn.SyncBatchNorm.convert_sync_batchnorm(detector)
    devices = [process.device.index] if process.device.type == "cuda" else None
    # not at each step: frozen statistics never change, and before a validation trained ones come from the first process
    sync: dict[str, Any] = {_BUFFER_OPTION: False}
    return DistributedDataParallel(detector, device_ids=devices, **sync)
