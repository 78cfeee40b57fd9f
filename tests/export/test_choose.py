"""The form of an exported file is known by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from paa.errors import CheckpointError, ConfigError
from paa.export.choose import FORMS, form_of, is_exported, open_exported


def test_forms_by_suffix() -> None:
    assert [form_of(Path("a") / f"model.unproven{suffix}").suffix for suffix in FORMS] == list(FORMS)
    assert form_of(Path("MODEL.ONNX")).name == "ONNX"
    assert not is_exported(Path("best.pt"))
    assert not is_exported(Path("onnx"))
    with pytest.raises(ConfigError, match=r"model\.bin: .*known: \.onnx \(ONNX\), \.xml \(OpenVINO\), \.pt2"):
        form_of(Path("model.bin"))


def test_the_file_that_is_opened_is_the_last_one() -> None:
    assert [file.name for file in form_of(Path("a.xml")).files(Path("b/a.xml"))] == ["a.bin", "a.xml"]
    assert form_of(Path("a.onnx")).files(Path("a.onnx")) == [Path("a.onnx")]


@pytest.mark.parametrize("suffix", FORMS)
def test_a_missing_file_and_a_folder(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        open_exported(tmp_path / f"missing{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(CheckpointError, match="a folder"):
        open_exported(tmp_path / f"folder{suffix}")
