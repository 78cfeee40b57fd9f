"""Shards: the parts of a list of images, each with a number, whose results are one file each, finished or not there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paa import __version__
from paa.batch_inference.addresses import hash_of
from paa.batch_inference.detector import BatchDetector
from paa.batch_inference.output_folder import OutputFolder
from paa.config import flat, to_dict
from paa.errors import ConfigError, RunError

DETECTIONS, ERRORS, DESCRIPTION = "detections", "errors", "run.json"
"""The folders of the two tables, and the file that says what they hold, in the output folder."""

CONTENT = "checkpoint_sha256"
"""What a description calls the hash of the checkpoint's content."""

_NO_SETTINGS = ("checkpoint", "device", "readers")
"""Fields of a `BatchDetector` on which results do not depend; of the checkpoint, the content counts."""
_MAY_DIFFER = ("paa", "checkpoint")
"""What a description says for people alone."""


@dataclass(frozen=True)
class Shard:
    """Some of the images of a run, by their addresses. number: from 0."""

    number: int
    images: Sequence[str]

    @property
    def file(self) -> str:
        """The name of the shard's file in each of the two folders."""
        return f"{self.number:07d}.parquet"

    @property
    def span(self) -> str:
        """The shard by its first and its last image, for messages."""
        return f"shard {self.number} ({self.images[0]} to {self.images[-1]})"


def shards_of(images: Sequence[str], size: int) -> list[Shard]:
    """Return the shards of a list: `size` images each, in order; the same for the same list. ConfigError for size 0."""
    if size < 1:
        raise ConfigError(f"a shard must have at least 1 image, got {size}")
    return [Shard(number, images[start : start + size]) for number, start in enumerate(range(0, len(images), size))]


def unfinished(shards: Sequence[Shard], output: OutputFolder) -> list[Shard]:
    """Return the shards whose detections are not in the output folder; a shard's detections are its last file."""
    there = output.names(DETECTIONS)
    return [shard for shard in shards if shard.file not in there]


def describe(detector: BatchDetector, images: Sequence[str], shard_size: int) -> dict[str, Any]:
    """Return what the results of a run depend on: images, shards, the checkpoint's content, the settings."""
    settings = to_dict(detector)
    return {
        "paa": __version__,
        "checkpoint": str(detector.checkpoint),
        CONTENT: detector.content(),
        "images": len(images),
        "images_sha256": hash_of(images),
        "shard_size": shard_size,
        "settings": {name: value for name, value in settings.items() if name not in _NO_SETTINGS},
    }


def begin_or_continue(output: OutputFolder, description: Mapping[str, Any]) -> None:
    """Write a new run's description to the output folder; in the folder of an earlier run, check that it is the same.

    RunError where the folder's results are of other images or settings, or where it has results without a description.
    """
    text = output.read_text(DESCRIPTION)
    if text is None:
        if output.names(DETECTIONS):
            raise RunError(f"{output.address}: has results without a {DESCRIPTION}; name another --output")
        output.write_text(DESCRIPTION, json.dumps(description, indent=2) + "\n")
        return
    try:
        before = flat(json.loads(text))
    except (ValueError, AttributeError, RecursionError):  # no JSON, or no object
        before = {}
    if not before.keys() >= {"images_sha256", "shard_size"}:
        raise RunError(f"{output.address}/{DESCRIPTION}: damaged, or of another version; name another --output")
    now = flat(description)
    if before.get(CONTENT) is None:  # earlier versions had no hash of a model by name
        before[CONTENT] = now[CONTENT] if before.get("checkpoint") == now["checkpoint"] else before.get("checkpoint")
    differing = [
        f"{name.removeprefix('settings.')}: {before.get(name)}, now {now.get(name)}"
        for name in now | before
        if name not in _MAY_DIFFER and before.get(name) != now.get(name)
    ]
    if differing:
        raise RunError(f"{output.address}: holds another run ({'; '.join(differing)}); name another --output")
