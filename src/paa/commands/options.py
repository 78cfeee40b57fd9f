"""Options that several commands share."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from tyro.conf import AvoidSubcommands, SuppressFixed, arg

from paa.config import DataFormat, InferenceConfig, MultiScaleConfig
from paa.errors import ConfigError

Format = DataFormat
DetectorFormat = Literal["paa", "seed", "official", "mmdet"]


InferenceOptions = Annotated[AvoidSubcommands[SuppressFixed[InferenceConfig]], arg(name="")]
"""The fields of `InferenceConfig` as options of a command; `views` is left to `with_views`."""


def with_views(inference: InferenceConfig, multi_scale: bool, views: MultiScaleConfig) -> InferenceConfig:
    """Return the configuration with the views, if multi-scale testing is asked for; ConfigError for unused views."""
    if not multi_scale and views != MultiScaleConfig():
        raise ConfigError("the options --views.* need --multi-scale")
    return replace(inference, views=views if multi_scale else None)


def limit_pixels(number: int | None) -> None:
    """Set how many pixels an image may have, if --max-pixels says so."""
    if number is not None:
        from paa.data.images.decoders import limit_pixels

        limit_pixels(number)
