"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from tyro.conf import AvoidSubcommands, Suppress, SuppressFixed, arg

from paa.config import DataFormat, InferenceConfig, MultiScaleConfig, TilesConfig
from paa.errors import ConfigError

Format = DataFormat
DetectorFormat = Literal["paa", "seed", "official", "mmdet"]


InferenceOptions = Annotated[AvoidSubcommands[SuppressFixed[InferenceConfig]], arg(name="")]
"""The fields of `InferenceConfig` as options of a command; `views` and `tiles` are left to `with_views`
and `with_tiles`."""


def with_views(inference: InferenceConfig, multi_scale: bool, views: MultiScaleConfig) -> InferenceConfig:
    """Return the configuration with the views, if multi-scale testing is asked for; ConfigError for unused views."""
    if not multi_scale and views != MultiScaleConfig():
        raise ConfigError("the options --views.* need --multi-scale")
    return replace(inference, views=views if multi_scale else None)


@dataclass(frozen=True)
class TileOptions(TilesConfig):
    """`TilesConfig` without its size, which is the option --tiles."""

    size: Suppress[int] = 1024


def with_tiles(inference: InferenceConfig, size: int | None, options: TileOptions) -> InferenceConfig:
    """Return the configuration with tiles, if a size is given; ConfigError for unused options."""
    if size is None:
        if options != TileOptions():
            raise ConfigError("the options --tiles.* need --tiles SIZE")
        return inference
    return replace(inference, tiles=TilesConfig(**vars(options) | {"size": size}))


def limit_pixels(number: int | None) -> None:
    """Set how many pixels an image may have, if --max-pixels says so."""
    if number is not None:
        from paa.data.images.decoders import limit_pixels

        limit_pixels(number)
