"""An exported model that runs, whatever its form: what goes in, what comes out, and whether that is as it should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paa.config import InferenceConfig
from paa.core import DetectedBatch
from paa.errors import CheckpointError, one_line
from paa.export.description import INPUTS, OUTPUTS, Description, from_json
from paa.inference.one_by_one import Found, one_by_one
from paa.model.detector import PADDING

Session = Callable[[Mapping[str, npt.NDArray[Any]]], Sequence[npt.NDArray[Any]]]
"""A graph that runs: from arrays by the names of `INPUTS` to those of `OUTPUTS`; it may raise any error."""


class ExportedGraph:
    """An exported file, ready to detect. description: what the file says of itself."""

    def __init__(self, path: Path, description: Description, session: Session) -> None:
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
            found = self._session(feed)
        except Exception as error:  # the errors of those who run graphs have no common class
            raise CheckpointError(f"{self.path}: its graph cannot be run ({one_line(error)})") from error
        slots = (len(given[0]), self.description.settings.max_detections)
        expected = ((*slots, 4), "float32"), (slots, "float32"), (slots, "int64")
        if [(column.shape, str(column.dtype)) for column in found] != list(expected):
            raise CheckpointError(f"{self.path}: its graph does not return boxes, scores and labels as it should")
        labels = found[2]
        if labels.size and not -1 <= labels.min() <= labels.max() < len(self.description.names):
            raise CheckpointError(f"{self.path}: its graph returns a label that is none of its classes")
        return DetectedBatch(*(torch.from_numpy(_own(column)) for column in found))


def read_description(path: Path, text: str | None, kind: str) -> Description:
    """Return the description found in a file; CheckpointError if there is none, or it is damaged.

    kind: what the file is, as "an ONNX file".
    """
    if text is None:
        raise CheckpointError(f"{path}: {kind} that this project did not export: export one with paa export")
    try:
        return from_json(text)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def check_names(path: Path, description: Description, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Raise CheckpointError unless a graph's inputs and outputs have the names of an exported detector's."""
    expected = INPUTS[:1] if description.settings.resize else INPUTS
    if list(inputs) != list(expected) or list(outputs) != list(OUTPUTS):
        raise CheckpointError(f"{path}: its graph's inputs and outputs are not those of an exported detector")


def _own(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array that torch may write to."""
    return array if array.flags.writeable else array.copy()
