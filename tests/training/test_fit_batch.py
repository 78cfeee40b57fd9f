"""A batch that does not fit in memory is computed in parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paa.data.read import read_dataset
from paa.model.detector import Detector
from paa.recipes import RECIPES
from paa.training import fit_batch as module
from paa.training.fit_batch import fit_batch, fits_in_memory, parts_that_fit
from tests.data.data_files import make_index
from tests.training.runs import CPU, Micro

SIZE = 64, 96


@pytest.mark.parametrize(("room", "parts"), [(16, 1), (9, 2), (4, 4), (3, 8), (1, 16), (0, 16)])
def test_the_least_number_of_equal_parts(room: int, parts: int) -> None:
    tried: list[int] = []
    assert parts_that_fit(16, lambda images: tried.append(images) is None and images <= room) == parts
    assert tried == sorted(tried, reverse=True)


def test_a_step_is_tried_and_running_out_of_memory_is_an_answer(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = read_dataset(shapes, "train")
    nano = RECIPES["r18_nano"]
    small = replace(nano, model=replace(nano.model, channels=8), augment=replace(nano.augment, min_sizes=(64,)))
    assert fits_in_memory(small, index, CPU.device, 2, SIZE, "float32")
    forward = Detector.forward

    def with_little_memory(self: Detector, images: torch.Tensor, sizes: torch.Tensor) -> object:
        if len(images) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, images, sizes)

    monkeypatch.setattr(Detector, "forward", with_little_memory)
    assert not fits_in_memory(small, index, CPU.device, 2, SIZE, "float32")
    assert fits_in_memory(small, index, CPU.device, 1, SIZE, "float32")

    def fails(says: str) -> None:
        def forward(*given: object) -> object:
            raise RuntimeError(says)

        monkeypatch.setattr(Detector, "forward", forward)

    fails("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    assert not fits_in_memory(small, index, CPU.device, 1, SIZE, "float32")
    fails("shape mismatch")
    with pytest.raises(RuntimeError, match="shape mismatch"):
        fits_in_memory(small, index, CPU.device, 1, SIZE, "float32")


def test_only_auto_on_a_gpu_tries(shapes: Path, tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fits_in_memory", lambda recipe, index, device, images, *_: images <= 1)
    index = read_dataset(shapes, "train")
    config = replace(micro(tmp_path / "run"), batch_size=4)
    on_gpu = replace(CPU, device=torch.device("cuda"))
    assert fit_batch(replace(config, auto=True), index, on_gpu).accumulate == 4
    assert fit_batch(replace(config, auto=True), index, replace(on_gpu, world=1)).batch_size == 4
    for unchanged in (config, replace(config, auto=True, named=("accumulate",))):
        assert fit_batch(unchanged, index, on_gpu) == unchanged
    assert fit_batch(replace(config, auto=True), index, CPU).accumulate == 1


def test_images_are_tried_as_large_as_whole_batches_make_them(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upright images that fill a part, but no batch, are in batches with wide ones."""
    tried: list[tuple[int, int]] = []
    monkeypatch.setattr(module, "fits_in_memory", lambda r, i, d, images, size, *_: tried.append(size) or images <= 2)
    index = make_index(tmp_path, [(64, 96)] * 9 + [(96, 64)] * 3)
    config = replace(micro(tmp_path / "run"), batch_size=4, auto=True)
    assert fit_batch(config, index, replace(CPU, device=torch.device("cuda"), world=1)).accumulate == 2
    assert tried == [(96, 96), (96, 96)]
