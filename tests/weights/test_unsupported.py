"""Files that cannot be read: one line that says what they are and what to do."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

import paa
from paa import PAA
from paa.config import ModelConfig
from paa.errors import CheckpointError
from paa.weights.read import read_start
from paa.weights.unsupported import describe_code

SMALL = ModelConfig(backbone="resnet18", channels=16, tower_depth=1)


def refusal(path: Path) -> str:
    """Return the one line with which a file is refused, after its path."""
    with pytest.raises(CheckpointError) as caught:
        paa.load(path, "cpu")
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 250
    return message.removeprefix(f"{path}: ")


@pytest.fixture(scope="module")
def model() -> PAA:
    return PAA(SMALL, ("a", "b"))


@pytest.mark.parametrize(
    "wrapped",
    ["bare", "in a dictionary", "as in PyTorch's tutorial", "of several processes", "compiled", "safetensors"],
)
def test_a_state_dict_of_ours_alone(tmp_path: Path, model: PAA, wrapped: str) -> None:
    state: dict[str, Any] = dict(model.state_dict())
    path = tmp_path / "weights.pth"
    if wrapped == "in a dictionary":
        state = {"epoch": 3, "model": state, "optimizer": {"state": {}, "param_groups": []}}
    elif wrapped == "as in PyTorch's tutorial":
        state = {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {"state": {}, "param_groups": []}}
    elif wrapped == "of several processes":
        state = {f"module.{name}": tensor for name, tensor in state.items()}
    elif wrapped == "compiled":
        state = {f"_orig_mod.{name}": tensor for name, tensor in state.items()}
    if wrapped == "safetensors":
        from safetensors.torch import save_file

        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    else:
        torch.save(state, path)
    message = refusal(path)
    start = "in none of the known formats: the weights of this project's detector alone (a state dict), without config"
    assert message.startswith(start)
    assert "model.save('model.safetensors')" in message
    if wrapped == "bare":  # the advice works
        again = PAA(SMALL, ("a", "b"))
        again.load_state_dict(torch.load(path))
        again.save(tmp_path / "again.safetensors")
        assert paa.load(tmp_path / "again.safetensors", "cpu").names == ("a", "b")


def test_a_whole_model_of_ours(tmp_path: Path, model: PAA) -> None:
    torch.save(model, tmp_path / "model.pt")
    message = refusal(tmp_path / "model.pt")
    assert message.startswith("would run code (paa.")
    assert "a whole model of this project (torch.save(model))" in message
    assert "model.save('model.safetensors')" in message


def test_a_whole_module_of_another(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "net.pt")
    assert "a whole module (torch.save(model)), not its weights: where it was saved, save" in refusal(
        tmp_path / "net.pt"
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_programs(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "script.pt")
    assert "a TorchScript program (torch.jit.save)" in refusal(tmp_path / "script.pt")
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), tmp_path / "export.pt2")
    program = (tmp_path / "export.pt2").rename(tmp_path / "export.pt")  # .pt2 would be one of this project's exports
    assert "an exported program (torch.export)" in refusal(program)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ultralytics.nn.tasks.DetectionModel", "a model of Ultralytics (YOLO), another detector"),
        ("models.yolo.Model", "a YOLOv5 or YOLOv7, another detector"),
        ("torchvision.models.detection.fcos.FCOS", "another detector"),
        ("torchvision.models.resnet.ResNet", "if it is a whole module"),
        ("my_project.nets.Net", "if it is a whole module (torch.save(model)), where it was saved, save its weights"),
        ("__main__.Net", "a whole module"),
        ("torch.optim.adamw.AdamW", "an optimizer"),
        ("pytorch_lightning.callbacks.X", "of Lightning"),
        ("os.system", ""),
        ("builtins.eval", ""),
        ("torch.load", ""),
    ],
)
def test_names_in_pickles(tmp_path: Path, name: str, says: str) -> None:
    assert describe_code(name).startswith(says) if not says else says in describe_code(name)
    module, _, what = name.rpartition(".")
    path = tmp_path / "a.pt"
    path.write_bytes(f"\x80\x02}}U\x01ac{module}\n{what}\n)Rs.".encode("latin-1"))
    message = refusal(path)
    assert message.startswith(f"would run code ({name}); it was not read")
    assert message.endswith("it was not read") == (says == "")


STATES: dict[str, tuple[Any, str]] = {
    "optimizer": ({"state": {}, "param_groups": [{"lr": 0.1}]}, "an optimizer's state alone, without weights"),
    "empty": ({}, "an empty dictionary"),
    "a key of two lines": ({"p\nq": 1}, r"a dictionary without a state dict: 'p\nq'"),
    "settings": ({"epoch": 3, "args": {"lr": 0.1}}, "a dictionary without a state dict: epoch, args"),
    "unknown": ({"a.weight": torch.ones(2), "a.bias": torch.ones(2)}, "a state dict of 2 tensors (a.weight, a.bias, "),
    "YOLO": ({"model.0.conv.weight": torch.ones(2)}, "a state dict of another detector (YOLO)"),
    "YOLOX": ({"model": {"head.cls_preds.0.weight": torch.ones(2)}}, "another detector (YOLOX)"),
    "DETR": ({"model": {"class_embed.weight": torch.ones(2)}}, "another detector (DETR"),
    "MMDetection": ({"state_dict": {"bbox_head.fcos.weight": torch.ones(2)}, "meta": {}}, "(MMDetection's, of another"),
    "tensor": (torch.ones(3), "holds a Tensor, not a checkpoint, which is a dictionary of named tensors"),
    "list": ([torch.ones(3)], "holds a list, not a checkpoint, which is a dictionary of named tensors"),
    "none": (None, "holds a NoneType, not a checkpoint"),
}


@pytest.mark.parametrize("kind", STATES)
def test_other_content(tmp_path: Path, kind: str) -> None:
    content, says = STATES[kind]
    torch.save(content, tmp_path / "a.pth")
    assert says in refusal(tmp_path / "a.pth")


@pytest.mark.parametrize("kind", ["fcos_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_detectors_of_torchvision(tmp_path: Path, kind: str) -> None:
    net = getattr(torchvision.models.detection, kind)(weights=None, weights_backbone=None)
    torch.save(net.state_dict(), tmp_path / "a.pth")
    assert "a state dict of another detector (torchvision's)" in refusal(tmp_path / "a.pth")
    torch.save(net, tmp_path / "whole.pth")
    assert "a whole model of torchvision, another detector" in refusal(tmp_path / "whole.pth")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\xee", "an ONNX model, not a checkpoint"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file (of Keras)"),
        (pickle.dumps([1, 2]), "holds a list"),
    ],
)
def test_other_files(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "a.pt").write_bytes(data)
    assert says in refusal(tmp_path / "a.pt")


def test_folders_and_urls(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "a folder, not a file"
    for name in ("last.pt", "best.pt"):  # the better one is named
        (tmp_path / name).touch()
        assert refusal(tmp_path) == f"a folder, not a file: name the file in it, {tmp_path / name}"
    with pytest.raises(CheckpointError, match=r"^https://example\.com/a\.pth: a URL, not a path: download it first$"):
        read_start("https://example.com/a.pth", "resnet18")
