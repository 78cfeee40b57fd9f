import shutil
from pathlib import Path

import numpy as np
import pytest

from paa.model.cpu import winograd
from tests import parity

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("path", parity.golden_files(GOLDEN), ids=lambda path: path.stem)
def test_golden_file(path):
    report = parity.check_file(path)
    assert report.passed, report.line()


def path_of(stem: str) -> Path:
    return GOLDEN / f"{stem}.npz"


@pytest.mark.parametrize("mode", ["fast", "folded"])
@pytest.mark.parametrize("stem", ["model_res50_1x", "model_res101_dcn_2x", "mmdet_r50"])
def test_golden_models_fast_and_folded(stem, mode, monkeypatch):
    """The same numbers within the same bounds; Winograd's convolutions also where images are too small for them."""
    taken = []
    transform = winograd.transform_kernel
    monkeypatch.setattr(winograd, "transform_kernel", lambda weight: taken.append(1) or transform(weight))
    monkeypatch.setattr(winograd, "_MIN_TILES", 1)
    report = parity.check_file(path_of(stem), mode)
    assert report.passed, report.line()
    assert len(taken) >= 10


@pytest.mark.parametrize("mode", ["fast", "traced"])
def test_golden_training_fast_and_traced(mode, monkeypatch):
    monkeypatch.setattr(winograd, "_MIN_TILES", 1)
    report = parity.check_file(path_of("train_res50_1x"), mode)
    assert report.passed, report.line()


def test_all_kinds_of_golden_files_are_there():
    names = {path.stem for path in parity.golden_files(GOLDEN)}
    expected = {f"head_{k}" for k in range(8)}
    expected |= {"model_res50_1x", "model_res101_dcn_2x", "train_res50_1x", "mmdet_r50", "multi_scale_vote"}
    assert names == expected


def test_a_wrong_number_fails(tmp_path, capsys):
    with np.load(GOLDEN / "head_0.npz") as golden:
        changed = dict(golden)
    changed["assigned"] = changed["assigned"].copy()
    changed["assigned"][0, np.flatnonzero(changed["assigned"][0] >= 0)[0]] = -1
    np.savez(tmp_path / "head_0.npz", **changed)
    shutil.copy(GOLDEN / "head_6.npz", tmp_path)
    assert parity.main([str(tmp_path)]) == 1
    assert "1 of 2 golden files pass" in capsys.readouterr().out


def test_an_unknown_kind_of_golden_file_fails(tmp_path, capsys):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    assert parity.main([str(tmp_path)]) == 1
    assert "FAIL other.npz: nothing compared" in capsys.readouterr().out


def test_no_golden_file_fails(tmp_path):
    assert parity.main([str(tmp_path)]) == 1
