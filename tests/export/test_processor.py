from __future__ import annotations

import platform
from pathlib import Path

import pytest

from paa.export import processor


def test_instructions_and_no_flags_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("model name\t: a\nflags\t\t: fpu md_clear avx2 sse4_2 avx512f\nflags\t\t: amx\n")
    monkeypatch.setattr(processor, "_CPUINFO", file)
    found = processor.processor()
    assert {"avx2", "sse4_2", "avx512f", platform.machine()} <= found
    assert not found & {"fpu", "md_clear", "amx"}
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "missing")
    assert len(processor.processor()) == 2
