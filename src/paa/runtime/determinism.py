"""Computing the same bits in every run on one machine: torch's own switches, and a word where they do not reach."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""cuBLAS reads it when it first computes; without it the order of its sums depends on the streams in use."""


@contextmanager
def deterministic(tell: Callable[[str], object]) -> Iterator[None]:
    """Let torch choose operators that give the same bits each time, in the block.

    tell: gets a line on each operator that has no such form here, once; it is used nevertheless.
    """
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn_before, shown = (cudnn.deterministic, cudnn.benchmark), warnings.showwarning
    told: set[str] = set()

    def show(message: Warning | str, *others: Any) -> None:
        found = re.match(r"(\S+) does not have a deterministic implementation", str(message))
        if found is None:
            shown(message, *others)
        elif found[1] not in told:
            told.add(found[1])
            tell(f"{found[1]} has no deterministic form on this device: two runs may differ in spite of deterministic")

    torch.use_deterministic_algorithms(True, warn_only=True)
    cudnn.deterministic, cudnn.benchmark = True, False
    warnings.showwarning = show  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.showwarning = shown
        cudnn.deterministic, cudnn.benchmark = cudnn_before
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
