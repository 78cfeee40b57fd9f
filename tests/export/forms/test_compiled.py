"""A model compiled ahead detects as its checkpoint does; a file that cannot be run here is one clear error."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._inductor import config

import paa
from paa.config import InferenceConfig
from paa.errors import CheckpointError, ConfigError
from paa.export.choose import open_exported
from paa.export.description import Description, to_json
from paa.export.forms import compiled
from paa.model.detector import Detector
from paa.weights.read import build, read_weights
from tests.export.conftest import batch
from tests.shared_files import made_once

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler (g++)")


@pytest.fixture(scope="module")
def package(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the compiled form of the checkpoint; by a compiler that does not optimise, which is quicker."""

    def make(folder: Path) -> None:
        detector = build(read_weights(checkpoint), str(checkpoint), Detector)
        with config.patch({"aot_inductor.debug_compile": True}):
            compiled.write(folder / "model.pt2", detector, Description(detector.names, detector.config))
        assert [file.name for file in folder.iterdir()] == ["model.pt2"]

    return made_once(tmp_path_factory, "compiled", make) / "model.pt2"


@needs_compiler
@pytest.mark.parametrize("shape", [(1, 32, 32), (2, 96, 64), (3, 64, 160)], ids=str)
def test_it_detects_as_the_network_does_at_any_size(
    package: Path, checkpoint: Path, shape: tuple[int, int, int]
) -> None:
    images, sizes = batch(*shape)
    ours = open_exported(package).detect(images, sizes, InferenceConfig())
    eager = paa.load(checkpoint, "cpu").detect(images, sizes)
    assert (eager.labels[0] >= 0).sum() >= 1
    assert torch.equal(ours.labels, eager.labels)
    torch.testing.assert_close(ours.scores, eager.scores, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.boxes, eager.boxes, rtol=0, atol=1e-2)


@needs_compiler
def test_it_is_a_model_without_a_network(package: Path, shapes: Path) -> None:
    model = paa.load(package)
    assert not list(model.parameters())
    assert model.provenance["torch"] == torch.__version__
    assert len(model.predict(next((shapes / "images").iterdir()))) > 3


def archive(path: Path, entries: Mapping[str, str | bytes]) -> Path:
    """Write an archive in place of a compiled model; its machine code is none."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def described(checkpoint: Path, **provenance: str) -> str:
    model = paa.load(checkpoint, "cpu")
    return to_json(Description(model.names, model.config, provenance=provenance))


def other_torch(checkpoint: Path) -> dict[str, str]:
    return {"model/extra/paa.json": described(checkpoint, torch="1.0", processor="")}


def other_processor(checkpoint: Path) -> dict[str, str]:
    return {"model/extra/paa.json": described(checkpoint, torch=torch.__version__, processor="avx9")}


def no_code(checkpoint: Path) -> dict[str, str]:
    return {"model/extra/paa.json": described(checkpoint, torch=torch.__version__, processor="")}


def no_description(checkpoint: Path) -> dict[str, str]:
    return {"model/version": "1"}


def damaged_description(checkpoint: Path) -> dict[str, str]:
    return {"model/extra/paa.json": json.dumps({"names": 3})}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (other_torch, "compiled by torch 1.0, and this is torch"),
        (other_processor, "compiled for a processor with avx9, which this one lacks"),
        (no_code, "PyTorch cannot load it"),
        (no_description, "a PyTorch package that this project did not export"),
        (damaged_description, "its description is damaged"),
    ],
)
def test_what_cannot_be_run_here_is_one_clear_error(
    entries: Callable[[Path], dict[str, str]], words: str, checkpoint: Path, tmp_path: Path
) -> None:
    path = archive(tmp_path / "model.pt2", entries(checkpoint))
    with pytest.raises(CheckpointError, match=words) as caught:
        paa.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x03\x04" + bytes(100)])
def test_a_file_that_is_no_archive(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged, or no PyTorch package"):
        paa.load(path)


def test_without_a_compiler_a_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -m64")
    with pytest.raises(ConfigError, match=r"a\.pt2: .*no-such-compiler -m64 is not found: install g\+\+") as caught:
        compiled.check(Path("a.pt2"))
    assert "\n" not in str(caught.value)


def test_a_compiler_that_fails_leaves_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("internal compiler error:\nhere")

    monkeypatch.setattr(compiled, "trace", lambda *_: None)
    monkeypatch.setattr(compiled, "check", lambda *_: None)
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", fail)
    model = paa.load(checkpoint, "cpu")
    with pytest.raises(ConfigError, match=r"torch cannot compile it ahead \(internal compiler error: here"):
        compiled.write(tmp_path / "model.pt2", model, Description(model.names, model.config))
    assert not list(tmp_path.iterdir())
