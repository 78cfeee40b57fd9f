"""Animations of the objects whose assignment a training run recorded, and the numbers of their frames."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from paa.data.files.paths import matches
from paa.data.images.read import read_image
from paa.errors import ConfigError
from paa.explanation.animation import write_animation
from paa.explanation.history import History, Watched
from paa.explanation.plain import level_to_plain, to_plain
from paa.runtime.files import write_text


def write_run(run: Path, output: Path, images: Sequence[str]) -> Iterator[Path]:
    """Write object-1.webp, object-1.json and so on; yield each file when it is written.

    images: names, in which * stands for any text, or ids of the images whose objects are wanted; none for all.
    RunError for a folder in which no assignment was recorded, ConfigError where no image is as `images` says.
    """
    history = History(run)
    watched, moments = history.read()
    chosen = [(i, one) for i, one in enumerate(watched) if not images or _is_named(one, images)]
    if not chosen:
        known = ", ".join(f"{one.file} (id {one.image_id})" for one in watched)
        raise ConfigError(f"{run}: recorded no image as --image says; it recorded {known}")
    output.mkdir(parents=True, exist_ok=True)
    for i, one in chosen:
        own = [(step, objects[i]) for step, objects in moments]
        animation, numbers = (output / f"object-{i + 1}.{kind}" for kind in ("webp", "json"))
        write_animation(animation, read_image(history.image(i + 1)), own, one.class_name)
        yield animation
        values = {
            "run": str(run),
            **vars(one),
            "levels": [level_to_plain(level) for level in own[0][1].levels],
            "frames": [{"step": step, **to_plain(moment)} for step, moment in own],
        }
        write_text(numbers, json.dumps(values, separators=(",", ":")) + "\n")
        yield numbers


def _is_named(one: Watched, names: Sequence[str]) -> bool:
    own = (one.file, Path(one.file).stem, str(one.image_id))
    return any(matches(form, name) for name in names for form in own)
