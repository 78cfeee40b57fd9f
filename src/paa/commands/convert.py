"""paa convert: any implementation's checkpoint as a model file of this project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tyro.conf import Positional

from paa.commands.options import DetectorFormat

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Convert:
    """Turn a detector's checkpoint of any implementation into one safetensors file of this project."""

    checkpoint: Positional[Path]
    """A checkpoint of this project, PAA_minimal, the official code or MMDetection, or a name, as mmdet/r50_1x (paa
    weights lists them)."""
    output: Positional[Path]
    """The file to write, *.safetensors."""
    names: tuple[str, ...] | None = None
    """Class names, in the order of the labels; default: the file's own, or COCO's for 80 classes; needed for a file
    without names and of another number of classes."""
    checkpoint_format: DetectorFormat | None = None
    """Format of the checkpoint; default: recognised from its content."""

    usual: ClassVar[None] = None
    """--help shows all options."""

    def run(self, console: Console) -> None:
        """Read the checkpoint, check it, and write the model file."""
        from paa.weights.convert import convert

        weights = convert(self.checkpoint, self.output, names=self.names, format=self.checkpoint_format)
        config, tensors = weights.config, weights.tensors
        format = weights.provenance.get("format", "paa model")  # a model that was made in Python comes from no file
        what = f"{format}, {config.backbone}, {weights.num_classes} classes, {len(tensors)} tensors"
        console.print(f"{self.checkpoint}: {what}", markup=False, highlight=False)
        console.print(f"written to {self.output}", markup=False)
