"""OpenVINO: a graph (.xml) with its weights beside it (.bin), in float32 or INT8, for CPUs of Intel and others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import numpy.typing as npt
import torch

from paa.errors import CheckpointError, ConfigError, one_line
from paa.export.calibration import Calibration
from paa.export.description import KEY, OUTPUTS, Description, to_json
from paa.export.forms.interface import Form
from paa.export.onnx_model import onnx_model
from paa.export.packages import check_packages
from paa.export.quantise import quantise
from paa.export.session import ExportedGraph, check_names, read_description
from paa.model.detector import Detector
from paa.runtime.files import sha256, whole_file

_DIGEST = "paa_weights"
"""The name of the weights' SHA-256 in the graph's metadata, without which the weights of another model of the same
shape would pass for this graph's."""


def check(path: Path) -> None:
    """Raise ConfigError if a package that writing needs is not installed."""
    check_packages(path, "openvino", "openvino", "nncf", "onnx", "onnxscript")


def write(path: Path, detector: Detector, description: Description, calibration: Calibration | None = None) -> None:
    """Write the graph that the ONNX form has, and its weights; see `paa.export.forms.interface.Write`."""
    check(path)
    import openvino

    exported = onnx_model(detector, description)
    try:
        model = openvino.Core().read_model(exported.SerializeToString())
    except Exception as error:  # OpenVINO's errors have no common class
        raise ConfigError(f"{detector.config.backbone}: OpenVINO has no form of it ({one_line(error)})") from error
    if calibration is not None:
        model = quantise(model, calibration.feeds(description), len(calibration))
    model.set_rt_info(to_json(description), [KEY])
    with TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as folder:  # OpenVINO insists on its endings
        graph, weights = Path(folder) / "model.xml", Path(folder) / "model.bin"
        openvino.serialize(model, str(graph), str(weights))
        model.set_rt_info(sha256(weights), [_DIGEST])
        openvino.serialize(model, str(graph), str(weights))
        for file, final in ((weights, path.with_suffix(".bin")), (graph, path)):
            with whole_file(final) as temporary:
                file.replace(temporary)


def open(path: Path, *, cuda: bool = False) -> ExportedGraph:
    """Return the model in two files, to be run on the CPU; see `paa.export.forms.interface.Open`.

    It computes in float32 where OpenVINO by itself would take bfloat16, on processors with instructions for it: a
    file gives the same detections wherever it runs, those that were proven when it was exported.
    """
    check_packages(path, "openvino", "openvino")
    import openvino

    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise CheckpointError(f"{path}: its weights are missing: {weights.name} belongs beside it")
    graph = path.read_bytes()
    if not graph.startswith(b"<"):  # OpenVINO reads other kinds of models too, and the files that these name
        raise CheckpointError(f"{path}: damaged, or no OpenVINO model (it is not XML)")
    belongs = re.search(rb'<%s value="([0-9a-f]{64})"' % _DIGEST.encode(), graph)
    if belongs is not None and belongs[1].decode() != sha256(weights):
        raise CheckpointError(f"{path}: {weights.name} has weights of another export: the two files belong together")
    core = openvino.Core()
    try:
        model = core.read_model(str(path), str(weights))
    except Exception as error:  # OpenVINO's errors have no common class
        raise CheckpointError(f"{path}: damaged, or no OpenVINO model ({one_line(error)})") from error
    description = read_description(path, _said(model, KEY), "an OpenVINO model")
    if belongs is None:
        raise CheckpointError(f"{path}: its description is damaged (it does not say which weights belong to it)")
    inputs, outputs = ([port.any_name for port in ports] for ports in (model.inputs, model.outputs))
    check_names(path, description, inputs, outputs)
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        request = core.compile_model(model, "CPU", settings).create_infer_request()
    except Exception as error:  # OpenVINO's errors have no common class
        raise CheckpointError(f"{path}: OpenVINO cannot load it ({one_line(error)})") from error
    one_at_a_time = Lock()  # a request holds the arrays of one run

    def run(feed: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        with one_at_a_time:
            found = request.infer(dict(feed))
            return [found[name] for name in OUTPUTS]

    return ExportedGraph(path, description, run)


def _said(model: Any, key: str) -> str | None:
    """Return an entry of a model's metadata; None if there is none, or it is no text."""
    if not model.has_rt_info([key]):
        return None
    value = model.get_rt_info([key]).value
    return value if isinstance(value, str) else None


FORM = Form("OpenVINO", ".xml", write, open, check, beside=(".bin",), int8=True)
