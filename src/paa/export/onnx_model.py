"""A detector as an ONNX model, by torch's exporter on top of torch.export."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import torch

import paa
from paa.errors import ConfigError, one_line
from paa.export.description import INPUTS, OUTPUTS, Description
from paa.export.graph import trace
from paa.export.resizing import with_resizing
from paa.export.suppression import translations
from paa.model.detector import Detector

OPSET = 20
"""Version of ONNX's operators."""


def onnx_model(detector: Detector, description: Description) -> Any:
    """Return network and post-processing as an `onnx.ModelProto`, with resizing where the description says so.

    detector: in float32 on the CPU; it is not changed. ConfigError if torch's exporter lacks one of its operations.
    """
    model = _to_onnx(detector, description)
    if description.settings.resize:
        model = with_resizing(model, description.config)
    _name_sides(model, description.settings.resize)
    model.producer_name, model.producer_version = "paa", paa.__version__
    model.doc_string = "PAA detector: uint8 RGB images to boxes (xyxy pixels), scores and labels (-1: none), best first"
    return model


def _to_onnx(detector: Detector, description: Description) -> Any:
    """Return the detector's graph as an `onnx.ModelProto`."""
    program = trace(detector, description.settings)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own deprecated functions
            converted = torch.onnx.export(
                program,
                input_names=INPUTS,
                output_names=OUTPUTS,
                opset_version=OPSET,
                custom_translation_table=translations(),
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        cause = one_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
        raise ConfigError(f"{detector.config.backbone}: torch's exporter has no ONNX form of it ({cause})") from error
    assert converted is not None
    return converted.model_proto


def _name_sides(model: Any, resize: bool) -> None:
    """Name the dimensions of inputs and outputs, which have names of torch's tracer, for people."""
    images = ("batch", 3, "height", "width") if resize else ("batch", 3, "32*rows", "32*columns")
    shapes = {"images": images, "sizes": ("batch", 2), "boxes": ("batch", None, 4)}
    for value in (*model.graph.input, *model.graph.output):
        for side, name in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ("batch", None))):
            if isinstance(name, str):
                side.dim_param = name
