"""Messages about files that cannot be read: what such a file is, and what to do instead."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

_STARTS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file it points to (git lfs pull fetches it)",
    b"<": "a web page (HTML or XML), not a checkpoint: open its address to see what it says",
    b"\x89PNG": "an image, not a checkpoint",
    b"\xff\xd8\xff": "an image, not a checkpoint",
    b"GIF8": "an image, not a checkpoint",
    b"\x1f\x8b": "compressed (gzip), not a checkpoint: unpack it first",
    b"\x89HDF": "an HDF5 file (of Keras), not a checkpoint of PyTorch",
}
"""The first bytes of files of other kinds; no dictionary's pickle starts with them."""

_ONNX = re.compile(rb"\x08[\x01-\x1f]\x12.[\w.-]{3}", re.DOTALL)  # a version, and the name of the program that wrote it

_SAVE_WEIGHTS = "where it was saved, save its weights instead: torch.save(model.state_dict(), 'weights.pth')"

_PROGRAMS = {
    "paa.": "a whole model of this project (torch.save(model)): where it was saved, save it with "
    "model.save('model.safetensors') instead",
    "ultralytics.": "a model of Ultralytics (YOLO), another detector",
    "models.yolo.": "a YOLOv5 or YOLOv7, another detector",
    "models.common.": "a YOLOv5 or YOLOv7, another detector",
    "yolox.": "a YOLOX, another detector",
    "super_gradients.": "a YOLO-NAS, another detector",
    "rfdetr.": "an RF-DETR, another detector",
    "detectron2.": "of Detectron2, another detector",
    "torchvision.models.detection.": "a whole model of torchvision, another detector",
    "__torch__.": "a TorchScript program (torch.jit.save): save the weights of the module that it was made of",
    "torch.jit.": "a TorchScript program (torch.jit.save): save the weights of the module that it was made of",
    "torch.optim.": "an optimizer, not weights",
    "pytorch_lightning.": "of Lightning, with its own objects: save its state_dict alone",
    "lightning.": "of Lightning, with its own objects: save its state_dict alone",
}
"""What a pickle is, by the modules of the classes or functions that it names."""

_DETECTORS = {
    "DETR or one of its kind": ("class_embed.", "transformer.decoder.", "decoder.dec_score_head.", "bbox_embed."),
    "Detectron2's": ("proposal_generator.", "backbone.bottom_up."),
    "torchvision's": ("head.classification_head.", "rpn.head.conv.", "roi_heads.box_head.", "roi_heads.mask_head."),
    "MMDetection's, of another detector than PAA": ("bbox_head.", "rpn_head.", "roi_head.", "neck."),
    "YOLOX": ("head.cls_preds.",),
    "YOLO": ("model.0.conv.", "model.model.0.conv.", "model.22.", "model.24.m."),
    "EfficientDet": ("class_net.", "fpn.resample."),
    "SSD": ("vgg.0.",),
}
"""Other detectors, by the prefixes of their tensors' names."""


def describe_start(head: bytes) -> str:
    """Return what a file is, by its first bytes; empty if it may be a checkpoint."""
    if _ONNX.match(head):
        return "an ONNX model, not a checkpoint: name the file that it was exported from"
    return next((what for start, what in _STARTS.items() if head.lstrip().startswith(start)), "")


def describe_archive(names: Collection[str]) -> str:
    """Return what a zip archive is, by the names of its entries; empty if it may be a checkpoint."""
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside and any(name.startswith("code/") for name in inside):
        return _PROGRAMS["torch.jit."]
    programs = "models/model", "data/aotinductor/", "serialized_exported_program.json"
    if any(name.startswith(programs) for name in inside):
        return "an exported program (torch.export): name the checkpoint that it was exported from"
    return ""


def describe_code(name: str) -> str:
    """Return what a pickle is, by a class or function that it names and no checkpoint needs; empty if unknown."""
    known = next((what for start, what in _PROGRAMS.items() if name.startswith(start)), None)
    if known is not None:
        return known
    root = name.partition(".")[0]
    if name.startswith("torch.nn.") or root == "__main__":
        return f"a whole module (torch.save(model)), not its weights: {_SAVE_WEIGHTS}"
    if root in sys.stdlib_module_names or root == "torch":
        return ""
    return f"if it is a whole module (torch.save(model)), {_SAVE_WEIGHTS}"


def describe_values(values: Mapping[str, Any], state: Mapping[str, Any]) -> str | None:
    """Return what a checkpoint is, if no format recognises it; None for a state dict of an unknown model.

    values: all of its content. state: the state dict among the values.
    """
    if set(values) == {"state", "param_groups"}:
        return "an optimizer's state alone, without weights"
    names = [str(name).removeprefix("_orig_mod.") for name, value in state.items() if isinstance(value, Tensor)]
    if not names:
        keys = [key if key.isprintable() else ascii(key) for key in values]
        return f"a dictionary without a state dict: {', '.join(keys)[:80]}" if keys else "an empty dictionary"
    if "head.cls_logits.weight" in names and "head.scales" in names:
        return (
            "the weights of this project's detector alone (a state dict), without configuration and class names: "
            "save it with model.save('model.safetensors'), or fill a paa.PAA(config, names) with load_state_dict"
        )
    for owner, starts in _DETECTORS.items():
        if any(name.startswith(starts) for name in names):
            return f"a state dict of another detector ({owner})"
    return None
