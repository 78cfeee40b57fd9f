"""Words that fit where an option takes any text: names of recipes, weights, devices and splits."""

from __future__ import annotations

from typing import get_args

from paa.commands.shells.words import Values
from paa.config import AssignerName
from paa.recipes import RECIPES

_SPLITS = Values(("train", "val", "test"))


def known_values(command: str) -> dict[str, Values]:
    """Return what fits the options and arguments of a command, by their names."""
    from paa.weights.formats import efficientnet_lite, torchvision
    from paa.weights.hosted import MODELS

    detectors = tuple(MODELS)
    backbones = (*efficientnet_lite.NAMES, *(f"torchvision/{name}" for name in torchvision.NAMES))
    detector = Values(detectors, files=True)
    return {
        "recipe": Values(tuple(RECIPES), files=True),
        "assigner": Values(get_args(AssignerName), files=True),
        "init": Values((*detectors, *backbones), files=True),
        **dict.fromkeys(("checkpoint", "what", "against", "teacher"), detector),
        "resume": Values(("last",), files=True),
        "paths": Values(files=True),
        "device": Values(("cpu", "cuda")),
        **dict.fromkeys(("split", "splits", "train-split", "val-split", "calibration-split"), _SPLITS),
        **({"names": Values(detectors)} if command == "weights" else {}),
    }
