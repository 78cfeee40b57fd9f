"""The assignment of a few fixed objects over a training run: small files in the run's folder, written and read."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from paa.errors import RunError
from paa.explanation.objects import Level, ObjectAssignment
from paa.explanation.plain import from_plain, level_to_plain, to_plain
from paa.runtime.files import cannot_write, whole_file, write_text

FOLDER = "assignment"
_SIDE = 640  # most pixels of a side of the images that are kept


@dataclass(frozen=True)
class Watched:
    """An object that is watched: the name of its image, the image's id in the data set, and the object's class.

    corner: (top, left) of the tile of the image, where that is tiled.
    """

    file: str
    image_id: int
    class_name: str
    corner: tuple[int, int] = (0, 0)


def _watched(objects: Iterable[dict[str, Any]]) -> list[Watched]:
    return [Watched(**{**one, "corner": tuple(one.get("corner", (0, 0)))}) for one in objects]


class History:
    """The folder `assignment` of a run: objects.json, an image of each object, history.jsonl, and a few pictures.

    A line of history.jsonl has the step, and the numbers of each object after it (`explanation.plain.to_plain`).
    """

    def __init__(self, run: Path) -> None:
        self.path = run / FOLDER
        self.objects, self.lines = self.path / "objects.json", self.path / "history.jsonl"

    def image(self, number: int) -> Path:
        """Return the file of the image of an object, counted from 1."""
        return self.path / f"{number}.jpg"

    def picture(self, step: int) -> Path:
        """Return the file of the picture of all objects after a step."""
        return self.path / f"step_{step:06d}.jpg"

    def watched(self) -> list[Watched]:
        """Return the objects; none where nothing is recorded, or not in the form that this class writes."""
        try:
            about = json.loads(self.objects.read_text(encoding="utf-8"))
            return _watched(about["objects"])
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def restart(self) -> Path | None:
        """Begin anew, for other objects. Return the folder that what is recorded so far has now, if there is any."""
        if not self.steps():
            self.forget_after(-1)
            self.objects.unlink(missing_ok=True)
            return None
        names = (self.path.with_name(f"{FOLDER}-before-{number}") for number in itertools.count(1))
        aside = next(path for path in names if not path.exists())
        try:
            self.path.rename(aside)
        except OSError as error:
            raise cannot_write(aside, error) from error
        return aside

    def steps(self) -> list[int]:
        """Return the steps that are recorded; a line that a power cut left incomplete is none."""
        return [record["step"] for record in self._records()]

    def begin(
        self, watched: Sequence[Watched], levels: Sequence[Level], images: Sequence[npt.NDArray[np.uint8]]
    ) -> None:
        """Write what stays the same: the objects, the levels of the pyramid, and the images (h, w, 3)."""
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        for number, pixels in enumerate(images, start=1):
            image = Image.fromarray(np.ascontiguousarray(pixels))
            image.thumbnail((_SIDE, _SIDE))
            save_jpeg(image, self.image(number))
        about = {"levels": [level_to_plain(one) for one in levels], "objects": [vars(one) for one in watched]}
        write_text(self.objects, json.dumps(about, indent=1) + "\n")

    def append(self, step: int, objects: Sequence[ObjectAssignment]) -> None:
        """Add the line of a step; RunError if it cannot be written."""
        line = json.dumps({"step": step, "objects": [to_plain(one) for one in objects]}, separators=(",", ":"))
        try:
            with self.lines.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise cannot_write(self.lines, error) from error

    def forget_after(self, step: int) -> None:
        """Remove what comes after a step, which a resumed run records again, and files that are half-written."""
        if not self.path.is_dir():
            return
        if self.lines.exists():
            kept = [record for record in self._records() if record["step"] <= step]
            write_text(self.lines, "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in kept))
        for path in self.path.glob("step_*.jpg"):
            if not path.stem[5:].isdecimal() or int(path.stem[5:]) > step:
                path.unlink(missing_ok=True)
        for path in self.path.glob("*.tmp"):
            path.unlink(missing_ok=True)

    def read(self) -> tuple[list[Watched], list[tuple[int, list[ObjectAssignment]]]]:
        """Return the objects and, for each step, what the rule made of them; RunError if nothing was recorded."""
        if not self.objects.exists():
            raise RunError(
                f"{self.path.parent}: the run recorded no assignment ({FOLDER}/{self.objects.name} is missing): paa "
                "train records it every --assignment-interval steps"
            )
        try:
            about = json.loads(self.objects.read_text(encoding="utf-8"))
            levels = tuple(Level(**one) for one in about["levels"])
            watched = _watched(about["objects"])
            moments = [
                (record["step"], [from_plain(one, levels) for one in record["objects"]]) for record in self._records()
            ]
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise RunError(f"{self.path}: its files are not those that a training run writes ({error!r})") from error
        if not moments or any(len(objects) != len(watched) for _, objects in moments):
            raise RunError(f"{self.lines}: no step is recorded there, or not all objects of one")
        return watched, moments

    def _records(self) -> list[dict[str, Any]]:
        if not self.lines.exists():
            return []
        records = []
        for line in self.lines.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                records.append(record)
        return records


def save_jpeg(image: Image.Image, path: Path) -> None:
    """Write an image, completely or not at all."""
    with whole_file(path, durable=False) as temporary:
        image.save(temporary, "JPEG", quality=85)
