"""The configuration in a checkpoint of MMDetection: what is read of it, whatever its form."""

from __future__ import annotations

import pytest

from paa.config import IMAGENET_MEAN, IMAGENET_STD
from paa.weights.formats.mmdet_config import Fields, config_fields

THREE = """
default_scope = 'mmdet'
max_epochs = 12
model = dict(
    type='PAA',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    bbox_head=dict(type='PAAHead', anchor_generator=dict(ratios=[1.0], octave_base_scale=8, scales_per_octave=1)))
train_dataloader = dict(dataset=dict(pipeline=[dict(type='Resize', scale=(2000, 1000), keep_ratio=True)]))
test_dataloader = dict(
    dataset=dict(pipeline=[dict(type='LoadImageFromFile', backend_args=None),
                           dict(type='Resize', scale=(1333, 800), keep_ratio=True)]))
"""
TWO = """
model = dict(bbox_head=dict(anchor_generator=dict(octave_base_scale=8)), train_cfg=dict(pos_weight=-1))
img_norm_cfg = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)
data = dict(
    train=dict(pipeline=[dict(type='Resize', img_scale=(2000, 1000), keep_ratio=True)]),
    test=dict(pipeline=[
        dict(type='MultiScaleFlipAug', img_scale=(1333, 800), flip=False, transforms=[
            dict(type='Resize', keep_ratio=True),
            dict(type='Normalize', mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)])]))
"""
USUAL: Fields = {"anchor_scale": 8.0, "min_size": 800, "max_size": 1333}


def test_the_model_zoos_configurations_say_what_is_assumed_without_them() -> None:
    assert config_fields(THREE) == {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "bgr": False, **USUAL}
    assert config_fields(TWO) == {"mean": IMAGENET_MEAN, "std": (1.0, 1.0, 1.0), "bgr": True, **USUAL}


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("octave_base_scale=8", "octave_base_scale=2.5", {"anchor_scale": 2.5}),
        ("scale=(1333, 800)", "scale=(512, 640)", {"min_size": 512, "max_size": 640}),
        ("bgr_to_rgb=True", "bgr_to_rgb=False", {"mean": IMAGENET_MEAN[::-1], "std": IMAGENET_STD[::-1], "bgr": True}),
    ],
)
def test_what_differs_is_read(old: str, new: str, changed: Fields) -> None:
    assert THREE.count(old) == 1
    assert config_fields(THREE.replace(old, new)) == {**config_fields(THREE), **changed}


@pytest.mark.parametrize(
    ("old", "new", "gone"),
    [
        ("octave_base_scale=8", "octave_base_scale=side", ["anchor_scale"]),
        ("octave_base_scale=8", "octave_base_scale=0", ["anchor_scale"]),
        ("octave_base_scale=8", "octave_base_scale=True", ["anchor_scale"]),
        ("octave_base_scale=8", "scales=[4, 8]", ["anchor_scale"]),
        ("scale=(1333, 800)", "scale=[(1333, 800), (1333, 640)]", ["min_size", "max_size"]),
        ("scale=(1333, 800), keep_ratio=True", "scale=(640, 640), keep_ratio=False", ["min_size", "max_size"]),
        ("scale=(1333, 800)", "scale=(1333, -1)", ["min_size", "max_size"]),
        ("mean=[123.675, 116.28, 103.53]", "mean=[123.675]", ["mean", "std", "bgr"]),
        ("std=[58.395, 57.12, 57.375]", "std=[0, 57.12, 57.375]", ["mean", "std", "bgr"]),
        ("std=[58.395, 57.12, 57.375]", "std=[1e999, 57.12, 57.375]", ["mean", "std", "bgr"]),
        ("bgr_to_rgb=True", "bgr_to_rgb='yes'", ["mean", "std", "bgr"]),
    ],
)
def test_values_of_another_form_are_left_out(old: str, new: str, gone: list[str]) -> None:
    assert THREE.count(old) == 1
    assert config_fields(THREE.replace(old, new)) == {k: v for k, v in config_fields(THREE).items() if k not in gone}


OTHER = {
    "empty": "",
    "cut off": "model = dict(",
    "null": "\0",
    "no dictionaries": "model = 5\ndata = [1]",
    "parentheses": "(" * 300,
    "signs": "-" * 100_000 + "1",
    "brackets": "x = " + "[" * 90 + "]" * 90,
    "a call": "model = __import__('os').abort()",
    "two names": "model, data = 1, 2",
    "long": THREE + "#" * 1_000_000,
}


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER.keys())
def test_any_other_text_says_nothing_and_is_not_run(text: str) -> None:
    assert config_fields(text) == {}
