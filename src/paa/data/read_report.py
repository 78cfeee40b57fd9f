"""What was read of a data set: where it was found, what was left out, what looks wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from paa.data.index import DatasetIndex
from paa.errors import AnnotationError, DataError, ImageError

REMEDY = "fix it, or go on without it: --skip-bad"
NAMED = 10  # items that are named one by one; all of them are in the file of what was left out


@dataclass
class ReadReport:
    """What a reader found in one split; the readers fill it in, `lines` tells it to a person.

    skip_bad: leave out what cannot be used, instead of stopping at it. format: "COCO", "VOC" or "YOLO".
    annotations, images: the file or folders they were read from. unlabelled: images without a label file.
    split: the one that the annotation file's name says, where it is not the one asked for.
    images_left_out: how many of what was left out are images.
    left_out: a line for each item that was left out. warnings: a line for each thing that was used and looks wrong.
    """

    skip_bad: bool = False
    format: str = ""
    annotations: str = ""
    images: str = ""
    unlabelled: int = 0
    split: str = ""
    images_left_out: int = 0
    left_out: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def leave_out(self, problem: str, kind: type[DataError] = AnnotationError) -> None:
        """Note an item that cannot be used, in words that name its file and what is wrong with it.

        Raises `kind`, naming the option that goes on without such items, unless `skip_bad` is set.
        """
        problem = printable(problem)
        if not self.skip_bad:
            raise kind(f"{problem}; {REMEDY}")
        self.left_out.append(problem)
        self.images_left_out += issubclass(kind, ImageError)

    def warn(self, remark: str) -> None:
        """Note what is used although it looks wrong, in words that name the file."""
        self.warnings.append(printable(remark))

    def lines(self, split: str, index: DatasetIndex) -> list[str]:
        """Return what a person is told of the split at the start, a line each; warnings are not among them."""
        split = self.split or split
        boxes = np.diff(index.offsets)
        crowd = int(index.crowd.sum())
        notes = {"without objects": int((boxes == 0).sum()), "without a label file": self.unlabelled}
        without = ", ".join(f"{count} {what}" for what, count in notes.items() if count)
        names = ", ".join(index.names[:8]) + (f" and {len(index.names) - 8} more" if len(index.names) > 8 else "")
        lines = [
            f"{split}: {self.format}, annotations {self.annotations}, images in {self.images}",
            f"{split}: {_counted(len(index), 'image')}{f' ({without})' if without else ''}, "
            f"{_counted(len(index.boxes), 'box')}{f' ({crowd} of crowds or difficult)' if crowd else ''}, "
            f"{_counted(len(index.names), 'class')}: {names}",
            *left_out_lines(self.left_out, split),
        ]
        return list(map(printable, lines))


def _counted(number: int, noun: str) -> str:
    ending = "" if number == 1 else "es" if noun.endswith(("s", "x")) else "s"
    return f"{number} {noun}{ending}"


def printable(text: str) -> str:
    """Return a text in one line: what is no character that shows, such as a line's end in a name, is written out."""
    text = text.encode("utf-8", "backslashreplace").decode()
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def left_out_lines(left_out: list[str], split: str) -> list[str]:
    """Return a line that counts what was left out of a split, and a line for each of the first ten."""
    if not left_out:
        return []
    more = f"; the first {NAMED}:" if len(left_out) > NAMED else ":"
    return [f"{split}: left out {len(left_out)}{more}", *(f"  {line}" for line in left_out[:NAMED])]
