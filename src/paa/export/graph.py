"""A detector as one graph, from a batch of images to detections, traced by torch.export."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from paa.errors import ConfigError, one_line
from paa.export.description import GraphSettings
from paa.export.postprocess import detect
from paa.model.detector import PADDING, Detector

_SAMPLE = (2, 3, 320, 448)
"""The shape of the traced batch. Sides of one, which P7 of smaller images has, would become constants of the graph."""


class DetectionGraph(nn.Module):
    """Network and post-processing: uint8 RGB images (B, 3, H, W) and their sizes (B, 2) to detections.

    Returns boxes (B, K, 4), continuous xyxy pixels of the batch, scores (B, K) and labels (B, K), best first, -1 after
    the last one, where K is `settings.max_detections`. H and W are multiples of 32; sizes are (height, width), int64.
    """

    def __init__(self, detector: Detector, settings: GraphSettings) -> None:
        super().__init__()
        self.detector, self.settings = detector, settings

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, scores and labels."""
        outputs = self.detector(images, sizes)
        found = detect(
            outputs,
            self.detector.anchors(outputs),
            sizes,
            voting=self.settings.voting,
            threshold=self.settings.candidate_threshold,
            threshold_joint=self.detector.config.threshold_joint,
            nms_iou=self.settings.nms_iou,
            limit=self.settings.max_detections,
            legacy=self.detector.config.legacy,
        )
        return found.boxes, found.scores, found.labels  # a plain tuple: PyTorch's packages know no other


def trace(detector: Detector, settings: GraphSettings) -> ExportedProgram:
    """Return the graph of a detector in float32 on the CPU, for any number and size of images; it is not changed.

    ConfigError if torch.export cannot trace the backbone for images of every size.
    """
    detector = copy.deepcopy(detector).eval().requires_grad_(False)
    detector.backbone.fold()
    batch, rows, columns = Dim("batch"), Dim("rows"), Dim("columns")
    shapes = {"images": {0: batch, 2: PADDING * rows, 3: PADDING * columns}, "sizes": {0: batch}}
    sample = torch.zeros(_SAMPLE, dtype=torch.uint8), torch.tensor([_SAMPLE[2:]] * _SAMPLE[0])
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own deprecated functions
            return torch.export.export(DetectionGraph(detector, settings), sample, dynamic_shapes=shapes)
    except Exception as error:  # torch's tracer fails in many ways on a backbone that it cannot trace
        raise ConfigError(f"{detector.config.backbone}: torch.export cannot trace it ({one_line(error)})") from error
