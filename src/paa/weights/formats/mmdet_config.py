"""What the configuration in a checkpoint of MMDetection says of its input and anchors; it is parsed, never run."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from typing import Any

_LONGEST = 1_000_000  # characters; configurations of the model zoo have some 10,000

Fields = dict[str, Any]
"""Fields of `ModelConfig` by their names."""


def config_fields(text: str) -> Fields:
    """Return what a configuration's text says of the input's mean, deviation, channels and size, and of the anchors.

    text: assignments of dict(...) calls and literals, as MMDetection's `pretty_text`. Values of another form are left
    out, all of them if the text is no Python.
    """
    config = _assignments(text)
    model, data = _inside(config, "model"), _inside(config, "data")
    test = _inside(config, "test_dataloader") or _inside(data, "test")  # 3.x, 2.x
    normalise = _inside(model, "data_preprocessor") or next(_typed(test, "Normalize"), {})
    return {**_input(normalise), **_size(test), **_anchors(model)}


def _input(normalise: Fields) -> Fields:
    """Return mean, std (red, green, blue) and bgr, from 3.x' data_preprocessor or 2.x' Normalize."""
    mean, std = _numbers(normalise.get("mean"), 3), _numbers(normalise.get("std"), 3)
    rgb = normalise.get("bgr_to_rgb", normalise.get("to_rgb"))
    if mean is None or std is None or min(std) <= 0 or not isinstance(rgb, bool):
        return {}
    step = 1 if rgb else -1  # theirs are in the order in which the channels are fed
    return {"mean": mean[::step], "std": std[::step], "bgr": not rgb}


def _size(test: Fields) -> Fields:
    """Return min_size and max_size, if images are tested at one size and keep their shape."""
    scale = next((each.get("img_scale") for each in _typed(test, "MultiScaleFlipAug")), None)
    for each in _typed(test, "Resize"):
        if each.get("keep_ratio") is not True:
            return {}
        scale = each.get("scale", scale)
    sides = _numbers(scale, 2)
    if sides is None or min(sides) < 1:
        return {}
    return {"min_size": int(min(sides)), "max_size": int(max(sides))}


def _anchors(model: Fields) -> Fields:
    """Return the side of anchors in strides."""
    scale = _numbers([_inside(_inside(model, "bbox_head"), "anchor_generator").get("octave_base_scale")], 1)
    return {"anchor_scale": scale[0]} if scale is not None and scale[0] > 0 else {}


def _assignments(text: str) -> Fields:
    """Return name -> value of the assignments in a text; empty if it is no Python."""
    if len(text) > _LONGEST:
        return {}
    try:
        lines = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return {
        line.targets[0].id: _value(line.value)
        for line in lines
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)
    }


def _value(node: ast.expr) -> Any:
    """Return the value of a literal, of a list or tuple (a list), or of dict(...); None for anything else."""
    match node:
        case ast.Constant(value):
            return value
        case ast.List(elements) | ast.Tuple(elements):
            return [_value(element) for element in elements]
        case ast.Call(ast.Name("dict"), [], keywords):
            return {keyword.arg: _value(keyword.value) for keyword in keywords}
        case ast.Dict(keys, values):
            return {key.value: _value(value) for key, value in zip(keys, values) if isinstance(key, ast.Constant)}
    return None


def _inside(value: Fields, name: str) -> Fields:
    """Return the dictionary under a name, an empty one if there is none."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _typed(value: Any, kind: str) -> Iterator[Fields]:
    """Yield the dictionaries, at any depth, whose `type` is `kind`."""
    if isinstance(value, dict):
        if value.get("type") == kind:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _typed(each, kind)


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """Return a list of so many finite numbers, None for anything else."""
    if not isinstance(value, list) or len(value) != count:
        return None
    numbers = [each for each in value if isinstance(each, (int, float)) and not isinstance(each, bool)]
    return tuple(map(float, numbers)) if len(numbers) == count and all(map(math.isfinite, numbers)) else None
