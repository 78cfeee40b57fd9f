"""Run an exported file with ONNX Runtime, after checking that it is one and reads nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paa.config import InferenceConfig
from paa.core import DetectedBatch
from paa.errors import CheckpointError, one_line
from paa.export.description import INPUTS, KEY, OUTPUTS, Description, from_json
from paa.export.packages import check_packages
from paa.inference.one_by_one import Found, one_by_one
from paa.model.detector import PADDING
from paa.runtime.urls import nothing_at


class ExportedGraph:
    """An exported file, ready to detect. description: what the file says of itself."""

    def __init__(self, path: Path, description: Description, session: Any) -> None:
        self.path, self.description = path, description
        self._session = session

    def detect(self, images: Tensor, sizes: Tensor, config: InferenceConfig) -> DetectedBatch:
        """Return the detections of a batch, as `Detector.detect` does; images may be on any device.

        Where the graph resizes, they are images of their original size, and are looked at one after another.
        ConfigError for settings that differ from the graph's, CheckpointError if the graph fails or returns something
        else.
        """
        self.description.settings.check(config, str(self.path))
        limit = config.max_detections
        if self.description.settings.resize:
            return one_by_one(lambda image: self._detect_image(image, limit), images, sizes, limit)
        assert images.shape[2] % PADDING == images.shape[3] % PADDING == 0
        found = self._run(images, sizes)
        return DetectedBatch(*(column[:, :limit].to(images.device) for column in found))

    def _detect_image(self, image: Tensor, limit: int) -> Found:
        boxes, scores, labels = (column[0, :limit].to(image.device) for column in self._run(image[None]))
        return boxes, scores, labels

    def _run(self, *given: Tensor) -> DetectedBatch:
        """Run the graph and check what it returns."""
        feed = {name: np.ascontiguousarray(value.cpu().numpy()) for name, value in zip(INPUTS, given)}
        try:
            found = self._session.run(list(OUTPUTS), feed)
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise CheckpointError(f"{self.path}: its graph cannot be run ({one_line(error)})") from error
        slots = (len(given[0]), self.description.settings.max_detections)
        expected = ((*slots, 4), "float32"), (slots, "float32"), (slots, "int64")
        if [(column.shape, str(column.dtype)) for column in found] != list(expected):
            raise CheckpointError(f"{self.path}: its graph does not return boxes, scores and labels as it should")
        labels = found[2]
        if labels.size and not -1 <= labels.min() <= labels.max() < len(self.description.names):
            raise CheckpointError(f"{self.path}: its graph returns a label that is none of its classes")
        return DetectedBatch(*(torch.from_numpy(_own(column)) for column in found))


def open_exported(path: Path, *, cuda: bool = False) -> ExportedGraph:
    """Return the exported model in a file; CheckpointError if it is none, is damaged, or would read another file.

    cuda: compute on a GPU, where ONNX Runtime is one that can. As many threads as torch has are used. ConfigError if
    ONNX Runtime is not installed.
    """
    if not path.is_file():
        raise CheckpointError(nothing_at(path, "file") if not path.is_dir() else f"{path}: a folder, not a file")
    check_packages(path, "onnx", "onnxruntime")
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
    if described is None:
        raise CheckpointError(f"{path}: an ONNX file that this project did not export: export one with paa export")
    try:
        description = from_json(described)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # errors are raised too
    available = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider",) if cuda and name in available]
    try:
        session = onnxruntime.InferenceSession(data, options, providers=[*providers, "CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class
        raise CheckpointError(f"{path}: ONNX Runtime cannot load it ({one_line(error)})") from error
    inputs = INPUTS[:1] if description.settings.resize else INPUTS
    if [i.name for i in session.get_inputs()] != list(inputs) or [o.name for o in session.get_outputs()] != list(
        OUTPUTS
    ):
        raise CheckpointError(f"{path}: its graph's inputs and outputs are not those of an exported detector")
    return ExportedGraph(path, description, session)


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


def _own(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array that torch may write to."""
    return array if array.flags.writeable else array.copy()
