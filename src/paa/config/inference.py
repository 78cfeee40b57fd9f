"""How detections are made from images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from paa.config.checks import check, check_types
from paa.config.names import Compilation, Precision
from paa.errors import ConfigError

CANDIDATE_THRESHOLD = 0.05
"""The paper's class probability above which an anchor is a candidate."""

_LIMIT = 100_000  # of an image; as many slots are in memory


@dataclass(frozen=True)
class TilesConfig:
    """Overlapping tiles of large images, each looked at like an image of its own, so that small objects stay large."""

    size: int
    """Side of a tile, in pixels of the original image; each tile is resized as a whole image is."""
    overlap: float = 0.2
    """Least share of its side that a tile has in common with the next. An object up to this long is whole in a tile."""
    whole: bool = True
    """The whole image is one more view, for the objects that are longer than the overlap."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid value."""
        check_types("tiles.", self)
        check(
            "tiles.",
            ("size", self.size, "at least 32 pixels", self.size >= 32),
            ("overlap", self.overlap, "from 0 to 0.9", 0 <= self.overlap <= 0.9),
        )

    @property
    def shared_pixels(self) -> int:
        """The least number of pixels that neighbouring tiles share."""
        return math.ceil(round(self.size * self.overlap, 6))  # rounded: 0.1 x 30 is not more than 3


@dataclass(frozen=True)
class MultiScaleConfig:
    """Multi-scale testing: the views beside the ordinary one, and how all are merged; defaults of the official code."""

    scales: tuple[int, ...] = (400, 500, 600, 640, 700, 900, 1000, 1100, 1200, 1300, 1400, 1800)
    """Short sides, in pixels, to which images are resized."""
    windows: tuple[tuple[int, int], ...] = (
        *((96, 10000),) * 2,
        *((64, 10000),) * 3,
        *((0, 10000),) * 2,
        *((0, 256),) * 2,
        *((0, 192),) * 2,
        (0, 96),
    )
    """For each scale, two sides of squares, in the resized image's pixels: boxes count whose area is between theirs."""
    max_size: int = 3000
    """Cap on the longer side; views smaller than the ordinary one have the ordinary one's cap."""
    mirror: bool = True
    """Every view mirrored too, the ordinary one included."""
    merge: Literal["vote", "soft-vote"] = "soft-vote"
    """vote: boxes that overlap become their weighted mean; soft-vote: the others stay too, with lower scores."""
    iou: float = 0.66
    """Least IoU at which boxes of the same class are merged."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid value."""
        check_types("views.", self)
        # lists, as of JSON, could not be hashed
        object.__setattr__(self, "scales", tuple(self.scales))
        object.__setattr__(self, "windows", tuple(map(tuple, self.windows)))
        scales, windows = self.scales, self.windows
        check(
            "views.",
            ("scales", scales, "at least 1", all(min_size >= 1 for min_size in scales)),
            ("windows", windows, f"one pair for each of the {len(scales)} views.scales", len(windows) == len(scales)),
            ("windows", windows, "at least 0, the lower first", all(0 <= low < high for low, high in windows)),
            ("max_size", self.max_size, "at least 1", self.max_size >= 1),
            ("merge", self.merge, "vote or soft-vote", self.merge in ("vote", "soft-vote")),
            ("iou", self.iou, "above 0 and at most 1", 0 < self.iou <= 1),
        )


@dataclass(frozen=True)
class InferenceConfig:
    """How detections are made from images; defaults of the paper."""

    threshold: float = 0.0
    """Least score of a detection; COCO's numbers are taken at 0, where all detections count."""
    candidate_threshold: float | None = None
    """Class probability (in MMDetection's models, score) above which an anchor takes part in NMS and voting; by
    default 0.05, or the threshold where that is between 0 and 0.05."""
    voting: bool = True
    """Score voting (paper, section 3.4)."""
    nms_iou: float = 0.6
    """A box is removed when a better one of its class overlaps it by more than this IoU."""
    max_detections: int = 100
    """Most detections of an image; above 100, COCO's numbers too count that many of each class and image."""
    views: MultiScaleConfig | None = None
    """The further views of multi-scale testing; none by default."""
    tiles: TilesConfig | None = None
    """Tiles in which images are looked at; none by default."""
    precision: Precision = "float32"
    """bfloat16: autocast; auto: bfloat16 where the device has instructions for it."""
    compile: Compilation = "off"
    """torch.compile in this mode (reduce-overhead: CUDA graphs); takes minutes at the start."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid value."""
        check_types("", self)
        if self.views is not None and self.tiles is not None:
            raise ConfigError("tiles and multi-scale testing cannot be combined: choose one of them")
        candidate = self.effective_candidate_threshold
        check(
            "",
            ("threshold", self.threshold, "from 0 to 1", 0 <= self.threshold <= 1),
            ("candidate_threshold", candidate, "from 0 to 1", 0 <= candidate <= 1),
            ("nms_iou", self.nms_iou, "from 0 to 1", 0 <= self.nms_iou <= 1),
            (
                "max_detections",
                self.max_detections,
                f"from 1 to {_LIMIT}",
                1 <= self.max_detections <= _LIMIT,
            ),
            ("precision", self.precision, ", ".join(get_args(Precision)), self.precision in get_args(Precision)),
            ("compile", self.compile, ", ".join(get_args(Compilation)), self.compile in get_args(Compilation)),
        )

    @property
    def effective_candidate_threshold(self) -> float:
        """The candidate threshold, or the default; the default never hides a detection that `threshold` asks for."""
        if self.candidate_threshold is not None:
            return self.candidate_threshold
        return min(CANDIDATE_THRESHOLD, self.threshold) if self.threshold else CANDIDATE_THRESHOLD
