from __future__ import annotations

import pytest
import torch

from paa.errors import RunError
from paa.runtime.device import has_bfloat16, pick_device


def test_pick_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device(None) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device(None) == torch.device("cuda", 0)
    assert pick_device("cuda", local_rank=1) == torch.device("cuda", 1)
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(RunError, match="'cuda:7' does not exist: this machine has 2 GPUs"):
        pick_device("cuda:7")
    with pytest.raises(RunError, match="'cuda' does not exist"):
        pick_device("cuda", local_rank=2)


@pytest.mark.parametrize(
    ("name", "says"),
    [("banana", "unknown device"), ("", "unknown device"), ("cuda:-1", "unknown device"), ("meta", "is not supported")],
)
def test_no_such_device(name: str, says: str) -> None:
    with pytest.raises(RunError, match=says):
        pick_device(name)


@pytest.mark.parametrize(("amx", "avx512"), [(False, False), (True, False), (False, True)])
def test_bfloat16_of_a_cpu(monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    assert has_bfloat16(torch.device("cpu")) == (amx or avx512)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_bfloat16_of_a_gpu() -> None:
    assert has_bfloat16(torch.device("cuda")) == (torch.cuda.get_device_capability() >= (8, 0))
