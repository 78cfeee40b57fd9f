"""A problem of a data set: its kind, how serious it is, and where."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from paa.data.index import DatasetIndex

Level = Literal["error", "warning", "hint"]
"""error: cannot be used, and stops a training. warning: is used, and is probably wrong. hint: worth knowing, and often
no fault of the data set."""


@dataclass(frozen=True)
class Kind:
    """A kind of problem. name: a short name for programs. title: what it means, for people."""

    name: str
    level: Level
    title: str


UNREADABLE_SPLIT = Kind("unreadable-split", "error", "splits that cannot be read")
UNUSABLE = Kind("unusable", "error", "annotations and images that cannot be used")
UNREADABLE_IMAGE = Kind("unreadable-image", "error", "images that cannot be decoded")
LEAK = Kind("leak", "warning", "images that are in another split too: AP will be too high")
NEAR_LEAK = Kind("near-leak", "warning", "images that look like one of another split")
CLASSES = Kind("classes", "warning", "classes that differ between splits")
SUSPECT = Kind("suspect", "warning", "what looks wrong in the annotations")
DAMAGED_IMAGE = Kind("damaged-image", "warning", "images that are read although they are damaged")
DUPLICATE = Kind("duplicate", "warning", "images with the content of another image of their split")
NEAR_DUPLICATE = Kind("near-duplicate", "hint", "images that look like another image of their split")
SMALL = Kind("small", "hint", "objects that are very small at the size of training")
NO_ANCHOR = Kind("no-anchor", "hint", "objects that no anchor overlaps by IoU 0.1, and that have hardly a candidate")
FEW_POSITIVES = Kind("few-positives", "hint", "objects that get few or no positives from the checkpoint")

KINDS = (
    *(UNREADABLE_SPLIT, UNUSABLE, UNREADABLE_IMAGE, LEAK, NEAR_LEAK, CLASSES, SUSPECT, DAMAGED_IMAGE, DUPLICATE),
    *(NEAR_DUPLICATE, SMALL, NO_ANCHOR, FEW_POSITIVES),
)
"""All kinds, in the order in which they are shown."""


@dataclass(frozen=True)
class Problem:
    """A problem. split: where it was found. message: what and where, in one line.

    The other fields say again what the message says, for programs, as far as they apply: the file and the id of the
    image, an object's number in the image (from 1), class and box (continuous xyxy pixels), the file of another image.
    """

    kind: Kind
    split: str
    message: str
    image: str | None = None
    image_id: int | None = None
    object: int | None = None
    class_name: str | None = None
    box: tuple[float, ...] | None = None
    other: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the problem as plain values, without the fields that do not apply."""
        fields = {name: value for name, value in asdict(self).items() if value is not None and name != "kind"}
        return {"kind": self.kind.name, "level": self.kind.level, **fields}


def object_problem(kind: Kind, split: str, index: DatasetIndex, image: int, row: int, fault: str) -> Problem:
    """Return a problem of the object in a row of an index. image: the position of its image."""
    number = row - int(index.offsets[image]) + 1
    box = tuple(round(side, 2) for side in index.boxes[row].tolist())
    name, path, image_id = index.names[index.labels[row]], index.path(image), int(index.image_ids[image])
    where = f"{path}: object {number}, {name} at ({', '.join(f'{side:g}' for side in box)}),"
    return Problem(kind, split, f"{where} {fault}", str(path), image_id, number, name, box)
