"""ONNX: one file that many programs run, here ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from paa.errors import CheckpointError, one_line
from paa.export.calibration import Calibration
from paa.export.description import KEY, OUTPUTS, Description, to_json
from paa.export.forms.interface import Form
from paa.export.onnx_model import onnx_model
from paa.export.packages import check_packages
from paa.export.session import ExportedGraph, check_names, read_description
from paa.model.detector import Detector
from paa.runtime.files import whole_file


def check(path: Path) -> None:
    """Raise ConfigError if a package that writing needs is not installed."""
    check_packages(path, "onnx", "onnx", "onnxscript", "onnxruntime")


def write(path: Path, detector: Detector, description: Description, calibration: Calibration | None = None) -> None:
    """Write network, post-processing and description to one file; see `paa.export.forms.interface.Write`."""
    check(path)
    assert calibration is None
    model = onnx_model(detector, description)
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=to_json(description))
    data = model.SerializeToString()
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def open(path: Path, *, cuda: bool = False) -> ExportedGraph:
    """Return the model in a file, which may read no other; see `paa.export.forms.interface.Open`."""
    check_packages(path, "onnx", "onnx", "onnxruntime")
    import onnx
    import onnxruntime

    data = path.read_bytes()
    try:
        model = onnx.load_from_string(data)
    except Exception as error:  # protobuf's and onnx's errors have no common class
        raise CheckpointError(f"{path}: damaged, or no ONNX file ({one_line(error)})") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise CheckpointError(f"{path}: has tensors in other files, which are not read: export it to one file")
    described = {entry.key: entry.value for entry in model.metadata_props}.get(KEY)
    description = read_description(path, described, "an ONNX file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # errors are raised too
    options.add_session_config_entry("session.load_model_format", "ONNX")  # nothing that passes for ONNX Runtime's own
    available = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider",) if cuda and name in available]
    try:
        session = onnxruntime.InferenceSession(
            data, options, providers=[*providers, "CPUExecutionProvider"], enable_fallback=bool(providers)
        )
        inputs, outputs = ([value.name for value in values] for values in (session.get_inputs(), session.get_outputs()))
    except Exception as error:  # ONNX Runtime's errors have no common class
        raise CheckpointError(f"{path}: ONNX Runtime cannot load it ({one_line(error)})") from error
    check_names(path, description, inputs, outputs)

    def run(feed: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        found: list[npt.NDArray[Any]] = session.run(list(OUTPUTS), dict(feed))
        return found

    return ExportedGraph(path, description, run)


def _tensors(message: Any) -> Iterator[Any]:
    """Yield every tensor in an ONNX message: initializers, attributes, and those of graphs and functions inside."""
    import onnx

    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for part in [value] if not hasattr(value, "__len__") else value:
                yield from _tensors(part)


FORM = Form("ONNX", ".onnx", write, open, check)
