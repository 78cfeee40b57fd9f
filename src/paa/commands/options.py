"""What several commands share: kinds of options, and what they mean."""

from __future__ import annotations

from typing import Literal

from paa.config import MultiScaleConfig
from paa.errors import ConfigError

Format = Literal["coco", "voc", "yolo"]
DetectorFormat = Literal["paa", "seed", "official", "mmdet"]


def views_of(multi_scale: bool, views: MultiScaleConfig) -> MultiScaleConfig | None:
    """Return the views of multi-scale testing, None without; ConfigError for views that nobody would look at."""
    if not multi_scale and views != MultiScaleConfig():
        raise ConfigError("the options --views.* need --multi-scale")
    return views if multi_scale else None


def limit_pixels(number: int | None) -> None:
    """Set how many pixels an image may have, if --max-pixels says so."""
    if number is not None:
        from paa.data.images.decoders import limit_pixels

        limit_pixels(number)
