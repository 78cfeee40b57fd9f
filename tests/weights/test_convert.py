"""Any checkpoint -> one model file, which has all of its tensors and remembers its origin."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import paa
from paa import PAA
from paa.config import ModelConfig
from paa.errors import CheckpointError, PaaError, RunError
from paa.training.run_folder import save_checkpoint
from paa.weights.convert import convert
from paa.weights.formats import own
from paa.weights.formats.coco_names import COCO_NAMES
from paa.weights.read import read_weights
from tests.weights.golden_states import digests, golden_state
from tests.weights.name_lists import R50, marked, seed_shapes

SMALL = ModelConfig(backbone="resnet18", norm="batch", channels=16, tower_depth=1, min_size=64, max_size=96)
NAMES = ("cat", "Hund", "鳥")
DETECTS = torch.full((1, 3, 64, 96), 90, dtype=torch.uint8), torch.tensor([[64, 90]])


@pytest.fixture(scope="module")
def model() -> PAA:
    torch.manual_seed(0)
    model = PAA(SMALL, NAMES)
    model(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8), torch.tensor([[64, 64]] * 2))
    return model.eval()


@pytest.fixture
def checkpoint(tmp_path: Path, model: PAA) -> Path:
    """Return a training checkpoint of the model."""
    path = tmp_path / "last.pt"
    save_checkpoint(path, own.write(SMALL, NAMES, model.state_dict(), {"step": 9, "optimizer": {"state": {}}}))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_model_of_the_seed_detects_the_same_after_conversion(tmp_path: Path) -> None:
    source, output = tmp_path / "source.pth", tmp_path / "ours.safetensors"
    torch.save(golden_state("res50_1x"), source)
    original = paa.load(source, "cpu")
    written = convert(source, output)
    digest = sha256(source)
    source.unlink()
    again = paa.load(output, "cpu")
    output.unlink()
    assert (again.config, again.names) == (original.config, COCO_NAMES)
    assert digests(again.state_dict()) == digests(original.state_dict()) == digests(written.tensors)
    expected = {**original.provenance, "file": "source.pth", "sha256": digest}
    assert again.provenance == written.provenance == expected
    assert (written.config, written.names, written.num_classes) == (original.config, COCO_NAMES, 80)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    a, b = (each.detect(images, torch.tensor([[64, 90]])) for each in (original, again))
    assert int((a.labels >= 0).sum()) > 0
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_training_checkpoint_becomes_a_model_file(tmp_path: Path, model: PAA, checkpoint: Path) -> None:
    convert(checkpoint, tmp_path / "a.safetensors")
    assert digests(load_file(tmp_path / "a.safetensors")) == digests(model.state_dict())
    again = paa.load(tmp_path / "a.safetensors", "cpu")
    assert (again.config, again.names) == (SMALL, NAMES)
    assert again.provenance == {"file": "last.pt", "format": "paa checkpoint", "sha256": sha256(checkpoint)}
    with torch.inference_mode():
        assert torch.equal(again(*DETECTS).deltas, paa.load(checkpoint, "cpu")(*DETECTS).deltas)
    assert not (tmp_path / "a.safetensors.tmp").exists()


def test_converting_twice_remembers_the_first_file(tmp_path: Path, checkpoint: Path) -> None:
    first = convert(checkpoint, tmp_path / "a.safetensors")
    second = convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert second.provenance == first.provenance == read_weights(tmp_path / "b.safetensors").provenance
    assert digests(load_file(tmp_path / "a.safetensors")) == digests(load_file(tmp_path / "b.safetensors"))
    convert(tmp_path / "b.safetensors", tmp_path / "b.safetensors", names=("x", "y", "z"))
    assert read_weights(tmp_path / "b.safetensors").names == ("x", "y", "z")


def test_names_are_given_to_the_classes(tmp_path: Path, model: PAA, checkpoint: Path) -> None:
    given = ("Katze", "dog", "bird, large")
    written = convert(checkpoint, tmp_path / "a.safetensors", names=list(given))
    assert written.names == given
    again = paa.load(tmp_path / "a.safetensors", "cpu")
    assert again.names == given
    assert digests(again.state_dict()) == digests(model.state_dict())
    for wrong in (("Katze", "dog"), (*given, "fish")):
        with pytest.raises(CheckpointError) as caught:
            convert(checkpoint, tmp_path / "b.safetensors", names=wrong)
        assert str(caught.value) == f"{checkpoint}: has 3 classes, {len(wrong)} names are given"
    assert not (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize(
    ("source", "output", "says"),
    [
        ("last.pt", "a.pt", "{folder}/a.pt: a model is saved as safetensors: name it a.safetensors"),
        ("last.pt", "no/a.safetensors", "{folder}/no/a.safetensors: there is no folder {folder}/no"),
        ("gone.pt", "a.safetensors", "{folder}/gone.pt: no such file"),
        ("text.pt", "a.safetensors", "{folder}/text.pt: a text, not a checkpoint"),
        ("R-50.pkl", "a.safetensors", "{folder}/R-50.pkl: a backbone alone (resnet50); paa train --init starts a"),
        ("part.pt", "a.safetensors", "{folder}/part.pt: tensors do not fit the model: 1 missing (fpn.p7.bias)"),
    ],
)
def test_an_error_of_conversion_is_one_line_and_nothing_is_written(
    tmp_path: Path, model: PAA, checkpoint: Path, source: str, output: str, says: str
) -> None:
    (tmp_path / "text.pt").write_text("hello")
    part = {name: tensor for name, tensor in model.state_dict().items() if name != "fpn.p7.bias"}
    torch.save(own.write(SMALL, NAMES, part), tmp_path / "part.pt")
    blobs = {
        f"res{stage + 2}_{i}_branch2a_w": np.zeros((64, 64, 1, 1))
        for stage, n in enumerate((3, 4, 6, 3))
        for i in range(n)
    }
    blobs |= {"conv1_w": np.zeros((64, 3, 7, 7)), "res2_0_branch2b_w": np.zeros((64, 64, 3, 3))}
    blobs |= {"res2_0_branch2c_w": np.zeros((256, 64, 1, 1))}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(blobs))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError) as caught:
        convert(tmp_path / source, tmp_path / output)
    assert str(caught.value).startswith(says.format(folder=tmp_path))
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "a.safetensors"
    output.write_bytes(b"the old file")

    def full(tensors: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(own, "save_file", full)
    with pytest.raises(RunError, match=r"a\.safetensors: cannot be written: No space left"):
        convert(checkpoint, output)
    assert output.read_bytes() == b"the old file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "last.pt"]


def test_the_format_can_be_named(tmp_path: Path, checkpoint: Path) -> None:
    assert convert(checkpoint, tmp_path / "a.safetensors", format="paa").names == NAMES
    with pytest.raises(CheckpointError, match=r"last\.pt: not in the format mmdet$"):
        convert(checkpoint, tmp_path / "b.safetensors", format="mmdet")


def test_a_file_without_names_needs_some(tmp_path: Path) -> None:
    """Wrong names are refused."""
    dense = {name: tensor.contiguous() for name, tensor in marked(seed_shapes(*R50, classes=4)).items()}
    torch.save(dense, tmp_path / "four.pth")
    with pytest.raises(CheckpointError, match=r"four\.pth: has 4 classes without names: give their names with --names"):
        convert(tmp_path / "four.pth", tmp_path / "four.safetensors")
    wrong = ((["a", "b", "b", "c"], "same name, 'b'"), (["a", " ", "b", "c"], "empty"), (["a"], "4 classes"))
    for names, says in wrong:
        with pytest.raises(PaaError, match=says):
            convert(tmp_path / "four.pth", tmp_path / "four.safetensors", names=names)
    assert [path.name for path in tmp_path.iterdir()] == ["four.pth"]
