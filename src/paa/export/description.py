"""What an exported file says of itself: classes, preprocessing, the settings in its graph, where it came from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

import msgspec

from paa.config import CANDIDATE_THRESHOLD, InferenceConfig, ModelConfig, check_model
from paa.errors import CheckpointError, ConfigError, one_line
from paa.model.detector import PADDING
from paa.weights.formats.own import check_names

KEY = "paa"
"""The name of the description in a file's metadata."""

INPUTS, OUTPUTS = ("images", "sizes"), ("boxes", "scores", "labels")
"""The names of the graph's inputs (with resizing in the graph the first alone) and outputs."""

_VERSION = 1


@dataclass(frozen=True)
class GraphSettings:
    """The settings of detection that are part of an exported graph, which cannot be changed when it is run."""

    candidate_threshold: float = CANDIDATE_THRESHOLD
    """As in `InferenceConfig`, and so are the next three."""
    voting: bool = InferenceConfig.voting
    nms_iou: float = InferenceConfig.nms_iou
    max_detections: int = InferenceConfig.max_detections
    resize: bool = False
    """The graph resizes and pads the images, which all have one size; otherwise they come resized and padded."""

    def inference(self) -> InferenceConfig:
        """Return these settings as a configuration of inference; ConfigError for invalid values."""
        usual = self.candidate_threshold == CANDIDATE_THRESHOLD
        return InferenceConfig(
            # None, not the usual number, lets a low threshold ask for a lower one, which `check` then refuses
            candidate_threshold=None if usual else self.candidate_threshold,
            voting=self.voting,
            nms_iou=self.nms_iou,
            max_detections=self.max_detections,
        )

    def check(self, asked: InferenceConfig, file: str) -> None:
        """Raise ConfigError unless the graph in this file detects as `asked`."""
        wanted: tuple[tuple[str, object, object, bool, str], ...] = (
            (
                "candidate_threshold",
                self.candidate_threshold,
                asked.effective_candidate_threshold,
                self.candidate_threshold == asked.effective_candidate_threshold,
                f"--candidate-threshold {asked.effective_candidate_threshold}",
            ),
            (
                "voting",
                self.voting,
                asked.voting,
                self.voting == asked.voting,
                "--voting" if asked.voting else "--no-voting",
            ),
            ("nms_iou", self.nms_iou, asked.nms_iou, self.nms_iou == asked.nms_iou, f"--nms-iou {asked.nms_iou}"),
            (
                "max_detections",
                self.max_detections,
                asked.max_detections,
                self.max_detections >= asked.max_detections,
                f"--max-detections {asked.max_detections}",
            ),
        )
        for name, fixed, value, fits, option in wanted:
            if not fits:
                raise ConfigError(
                    f"{file}: {name} is {fixed} in the exported graph and cannot be {value}: ask for {fixed}, or "
                    f"export the checkpoint again with {option}"
                )
        if self.resize and (asked.views is not None or asked.tiles is not None):
            raise ConfigError(
                f"{file}: its graph resizes images by itself, so that it can look at whole images only: for tiles or "
                "multi-scale testing export the checkpoint without --resize"
            )


@dataclass(frozen=True)
class Description:
    """All that is to be known of an exported file beside its graph.

    names: the classes, in the order of the labels. config: of the model. provenance: the checkpoint's file name,
    SHA-256 and format, the version of this project that exported it, and what the form adds. precision: of the network
    in the graph; what comes before and after it is in float32.
    """

    names: tuple[str, ...]
    config: ModelConfig
    settings: GraphSettings = GraphSettings()
    provenance: dict[str, str] = field(default_factory=dict)
    precision: Literal["float32", "int8"] = "float32"
    version: int = _VERSION


def to_json(description: Description) -> str:
    """Return the description as JSON, with what another program must know to prepare images: `preprocessing`."""
    config, resize = description.config, description.settings.resize
    preprocessing = {
        "input": "uint8 RGB, 0..255, (batch, 3, height, width)",
        "resized_by": "graph" if resize else "caller",
        "min_size": config.min_size,
        "max_size": config.max_size,
        "interpolation": "bilinear, antialiased",
        "padded_by": "graph" if resize else "caller",
        "padding": "zeros at the right and at the bottom",
        "multiple_of": PADDING,
        "normalised_by": "graph",
        "channels": "BGR" if config.bgr else "RGB",
        "mean": config.mean,
        "std": config.std,
    }
    return json.dumps({**asdict(description), "preprocessing": preprocessing}, ensure_ascii=False)


def from_json(text: str) -> Description:
    """Return the description that `to_json` wrote; CheckpointError if it is of another version, or damaged."""
    try:
        description = msgspec.json.decode(text, type=Description)
        if description.version == _VERSION:
            check_model(description.config)
            check_names(description.names)
            description.settings.inference()
    except (msgspec.MsgspecError, ConfigError, UnicodeError, RecursionError) as error:
        raise CheckpointError(f"its description is damaged ({one_line(error)})") from error
    if description.version != _VERSION:
        raise CheckpointError(
            f"is of version {description.version}, this program reads version {_VERSION}: a newer program is needed"
        )
    return description
