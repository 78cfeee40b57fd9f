"""Named configurations: the four of the seed, and one for CPUs and small data sets."""

from __future__ import annotations

from dataclasses import replace

from paa.config import CAFFE_MEAN, ModelConfig, PictureConfig, Recipe, ScheduleConfig

_CAFFE = ModelConfig(norm_eps=0.0, stride_in_1x1=True, mean=CAFFE_MEAN, std=(1.0, 1.0, 1.0), bgr=True, legacy=True)
_R101 = replace(_CAFFE, backbone="resnet101")
_MULTI_SCALE = PictureConfig(short_sides=(640, 800))
_2X = ScheduleConfig(steps=180_000, decays=(120_000, 160_000))

RECIPES: dict[str, Recipe] = {
    "r50_1x": Recipe(_CAFFE),
    "r50_1.5x": Recipe(_CAFFE, schedule=ScheduleConfig(steps=135_000, decays=(90_000, 120_000))),
    "r101_2x": Recipe(_R101, _MULTI_SCALE, _2X),
    "r101_dcn_2x": Recipe(replace(_R101, dcn_stages=(3, 4, 5), tower_dcn=True), _MULTI_SCALE, _2X),
    # Not from the paper: from scratch, in minutes, without a GPU.
    "r18_nano": Recipe(
        ModelConfig(backbone="resnet18", norm="batch", channels=64, tower_depth=2, test_short=256, test_longest=448),
        PictureConfig(short_sides=(224, 288), longest=448, scale_jitter=(0.7, 1.4), color_jitter=0.2),
        ScheduleConfig(
            steps=1200,
            decays=(),
            reference_batch=8,
            rate=1e-3,
            optimizer="adamw",
            weight_decay=0.05,
            bias_rate_factor=1.0,
            warmup_steps=100,
            warmup_factor=0.01,
            warmup="linear",
            shape="cosine",
            frozen_stages=0,
            clip_norm=10.0,
        ),
    ),
}
