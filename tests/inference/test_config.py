from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from paa.config import InferenceConfig, LoadingConfig, MultiScaleConfig, TilesConfig, TrainTilesConfig
from paa.errors import ConfigError


def test_the_defaults_are_the_papers() -> None:
    config = InferenceConfig()
    assert (config.threshold, config.voting, config.nms_iou, config.max_detections) == (0.0, True, 0.6, 100)
    assert (config.views, config.tiles, config.precision, config.compile) == (None, None, "float32", "off")
    assert config.effective_candidate_threshold == 0.05


@pytest.mark.parametrize(
    ("threshold", "candidate_threshold", "effective"),
    [(0.3, None, 0.05), (0.01, None, 0.01), (0.0, None, 0.05), (0.01, 0.2, 0.2), (0.3, 0.0, 0.0)],
)
def test_a_low_threshold_lowers_that_of_candidates_unless_it_is_set(
    threshold: float, candidate_threshold: float | None, effective: float
) -> None:
    assert InferenceConfig(threshold, candidate_threshold).effective_candidate_threshold == effective


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 1.5}, "threshold must be from 0 to 1, got 1.5"),
        ({"threshold": math.nan}, "threshold must be from 0 to 1, got nan"),
        ({"candidate_threshold": -1}, "candidate_threshold must be from 0 to 1, got -1"),
        ({"nms_iou": 1.5}, "nms_iou must be from 0 to 1, got 1.5"),
        ({"max_detections": 0}, "max_detections must be from 1 to 100000, got 0"),
        ({"precision": "float16"}, "precision must be float32, bfloat16, auto, got float16"),
        ({"compile": "on"}, "compile must be off, default, reduce-overhead, max-autotune, got on"),
    ],
)
def test_invalid_values_of_inference(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        InferenceConfig(**changes)
    with pytest.raises(ConfigError, match=f"^{message}$"):
        dataclasses.replace(InferenceConfig(), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": "0.3"}, "threshold must be a number, got '0.3'"),
        ({"threshold": True}, "threshold must be a number, got True"),
        ({"nms_iou": None}, "nms_iou must be a number, got None"),
        ({"max_detections": 2.5}, "max_detections must be a whole number, got 2.5"),
        ({"voting": "no"}, "voting must be True or False, got 'no'"),
        ({"tiles": 64}, "tiles must be a TilesConfig, got 64"),
        ({"views": "yes"}, "views must be a MultiScaleConfig, got 'yes'"),
    ],
)
def test_values_of_another_type(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        InferenceConfig(**changes)


def test_numbers_of_numpy_are_numbers() -> None:
    config = InferenceConfig(threshold=np.float32(0.5), max_detections=np.int64(5), voting=np.bool_(False))
    assert (config.threshold, config.max_detections, config.voting) == (0.5, 5, False)


def test_the_views_are_those_of_the_official_code() -> None:
    config = MultiScaleConfig()
    windows = dict(zip(config.scales, config.windows, strict=True))
    assert windows == {
        400: (96, 10_000),
        500: (96, 10_000),
        600: (64, 10_000),
        640: (64, 10_000),
        700: (64, 10_000),
        900: (0, 10_000),
        1000: (0, 10_000),
        1100: (0, 256),
        1200: (0, 256),
        1300: (0, 192),
        1400: (0, 192),
        1800: (0, 96),
    }
    assert (config.max_size, config.mirror, config.merge, config.iou) == (3000, True, "soft-vote", 0.66)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": (0,)}, "views.scales must be at least 1, got (0,)"),
        ({"windows": ((0, 9),)}, "views.windows must be one pair for each of the 2 views.scales, got ((0, 9),)"),
        ({"windows": ((0, 9), (9, 9))}, "views.windows must be at least 0, the lower first"),
        ({"windows": ((0, 9), (-1, 9))}, "views.windows must be at least 0, the lower first"),
        ({"max_size": 0}, "views.max_size must be at least 1, got 0"),
        ({"merge": "nms"}, "views.merge must be vote or soft-vote, got nms"),
        ({"iou": 0.0}, "views.iou must be above 0 and at most 1, got 0.0"),
        ({"iou": 1.1}, "views.iou must be above 0 and at most 1, got 1.1"),
        ({"iou": math.nan}, "views.iou must be above 0 and at most 1, got nan"),
    ],
)
def test_invalid_values_of_views(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MultiScaleConfig(**{"scales": (48, 96), "windows": ((20, 1000), (0, 40)), **changes})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 31}, "tiles.size must be at least 32 pixels, got 31"),
        ({"overlap": -0.1}, "tiles.overlap must be from 0 to 0.9, got -0.1"),
        ({"overlap": 0.91}, "tiles.overlap must be from 0 to 0.9, got 0.91"),
        ({"overlap": math.nan}, "tiles.overlap must be from 0 to 0.9, got nan"),
        ({"empty": -0.5}, "tiles.empty must be at least 0, got -0.5"),
        ({"empty": math.inf}, "tiles.empty must be at least 0, got inf"),
    ],
)
def test_invalid_values_of_tiles(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        TrainTilesConfig(**{"size": 512, **changes})
    if "empty" not in changes:
        with pytest.raises(ConfigError, match=f"^{message}$"):
            TilesConfig(**{"size": 512, **changes})


def test_tiles_and_views_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r"^tiles and multi-scale testing cannot be combined: choose one of them$"):
        InferenceConfig(tiles=TilesConfig(512), views=MultiScaleConfig())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "the batch size of an evaluation must be at least 1, got 0"),
        ({"batch_size": -2}, "the batch size of an evaluation must be at least 1, got -2"),
        ({"workers": -1}, "the number of workers of an evaluation must be at least 0, got -1"),
        ({"worker_timeout": -1}, "the worker timeout of an evaluation must be at least 0, got -1"),
    ],
)
def test_invalid_values_of_loading(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LoadingConfig(**changes)
