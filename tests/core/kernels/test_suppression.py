"""The kernel without a GPU: run by triton's interpreter it must keep what the loop keeps, and it must compile.

Where there is a GPU a test of `test_suppression.py` runs it for real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.core.test_suppression import SETTINGS, Suppress, check

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="no triton")

Kernel = Callable[[int], Suppress]


def interpret(boxes: np.ndarray, labels: np.ndarray, nms_iou: float, limit: int, piece: int) -> np.ndarray:
    """Return what the kernel does, in pieces of so many boxes. Not for this process."""
    from paa.core._kernels import suppression as kernels

    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):  # a GPU divides 0 by 0 silently
        patch.setattr(kernels, "PIECE", piece)
        return kernels.suppress(torch.from_numpy(boxes), torch.from_numpy(labels), nms_iou, limit).numpy()


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """The kernel, in a process of its own: the interpreter must be chosen before triton is imported."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            pool.submit(int).result()  # the process starts with its first task

        def in_pieces(piece: int) -> Suppress:
            def run(boxes: Tensor, labels: Tensor, nms_iou: float, limit: int) -> Tensor:
                given = (boxes.numpy(), labels.numpy(), nms_iou, limit, piece)
                return torch.from_numpy(pool.submit(interpret, *given).result())

            return run

        yield in_pieces


@pytest.mark.parametrize("piece", [1024, 8])
@pytest.mark.parametrize("whole", [False, True])
@SETTINGS
def test_keeps_what_the_loop_keeps(whole: bool, nms_iou: float, limit: int, piece: int, kernel: Kernel) -> None:
    check(kernel(piece), whole, nms_iou, limit, most=30)


def test_no_image_no_box_no_limit(kernel: Kernel) -> None:
    for images, columns, limit in [(0, 3, 2), (2, 0, 2), (2, 3, 0)]:
        boxes, labels = torch.zeros(images, columns, 4), torch.zeros(images, columns, dtype=torch.int64)
        kept = kernel(32)(boxes, labels, 0.6, limit)
        assert kept.shape == (images, limit)
        assert (kept == -1).all()


@pytest.mark.parametrize("lanes", [1, 64, 1024])
def test_it_compiles(lanes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To machine code, which takes no GPU: the interpreter accepts much that does not compile."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from paa.core._kernels.suppression import _suppress

    constants = {"lanes": lanes, "nms_iou": 0.6}
    arguments = {"boxes": "*fp32", "labels": "*i64", "kept": "*i64", "columns": "i32", "limit": "i32"}
    source = ASTSource(_suppress, {**arguments, **dict.fromkeys(constants, "constexpr")}, constants)
    compiled = triton.compile(source, GPUTarget("cuda", 90, 32), options={"num_warps": 8, "enable_fp_fusion": False})
    assert "_suppress" in compiled.asm["ptx"]
    assert "ld.local" not in compiled.asm["ptx"]
