from __future__ import annotations

import json
from dataclasses import replace

import pytest

from paa.config import InferenceConfig, ModelConfig, MultiScaleConfig, TilesConfig
from paa.errors import CheckpointError, ConfigError
from paa.export.description import Description, GraphSettings, from_json, to_json

DESCRIPTION = Description(
    ("Würfel", "b"),
    ModelConfig(bgr=True, std=(1.0, 2.0, 3.0), dcn_stages=(4, 5)),
    GraphSettings(voting=False, nms_iou=0.5),
    {"sha256": "0f"},
)


def test_a_description_survives_json() -> None:
    assert from_json(to_json(DESCRIPTION)) == DESCRIPTION


def test_it_says_how_images_are_prepared() -> None:
    said = json.loads(to_json(DESCRIPTION))["preprocessing"]
    assert said["channels"] == "BGR"
    assert said["std"] == [1, 2, 3]
    assert said["multiple_of"] == 32
    assert said["resized_by"] == "caller"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 2"),
        ({"version": "1"}, "version"),
        ({"names": []}, "class names"),
        ({"names": ["a", "a"]}, "same name"),
        ({"names": "ab"}, "names"),
        ({"config": {"min_size": -3}}, "min_size"),
        ({"config": {"mean": [1, 2]}}, "mean"),
        ({"config": None}, "config"),
        ({"settings": {"nms_iou": 7}}, "nms_iou"),
        ({"settings": {"max_detections": 1.5}}, "max_detections"),
        ({"provenance": {"a": 1}}, "provenance"),
    ],
    ids=str,
)
def test_a_damaged_description_is_one_clear_error(change: dict[str, object], words: str) -> None:
    text = json.dumps(json.loads(to_json(DESCRIPTION)) | change)
    with pytest.raises(CheckpointError, match=words) as caught:
        from_json(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"names": ["\\ud800"]}'])
def test_a_text_that_is_no_description(text: str) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        from_json(text)


def test_settings_of_the_graph_cannot_be_changed() -> None:
    settings = GraphSettings()
    settings.check(InferenceConfig(threshold=0.4, max_detections=10), "a.onnx")
    for asked, words in (
        (InferenceConfig(voting=False), "voting is True .* cannot be False.* --no-voting"),
        (InferenceConfig(nms_iou=0.5), "--nms-iou 0.5"),
        (InferenceConfig(max_detections=300), "--max-detections 300"),
        (InferenceConfig(threshold=0.01), "--candidate-threshold 0.01"),
    ):
        with pytest.raises(ConfigError, match=rf"^a\.onnx: .*{words}"):
            settings.check(asked, "a.onnx")
    settings.check(InferenceConfig(tiles=TilesConfig(100)), "a.onnx")
    for asked in (InferenceConfig(tiles=TilesConfig(100)), InferenceConfig(views=MultiScaleConfig())):
        with pytest.raises(ConfigError, match="without --resize"):
            replace(settings, resize=True).check(asked, "a.onnx")
