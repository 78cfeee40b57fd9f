"""What was found while reading a data set: where, what was left out, and what looks wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from paa.data.index import DatasetIndex
from paa.errors import AnnotationError, DataError, ImageError

REMEDY = "fix it, or go on without it: --skip-bad"
NAMED = 10  # items left out that are named on the terminal; left_out.txt names all of them


@dataclass
class ReadReport:
    """What was found while reading one split: readers fill it in, `lines` describes it to a person.

    skip_bad: leave out what cannot be used, instead of stopping. detailed: warn of each box and file by itself, where a
    warning otherwise counts them and names one. format: the name of the data set's format, such as "COCO". annotations,
    images: the file or folders that they were read from. unlabelled: how many images have no label file. split: the
    split that the annotation file's name says, if it is not the requested one. images_left_out: how many of the items
    left out are images. left_out: a line for each item that was left out. warnings: a line for each thing that looks
    wrong and was used nevertheless.
    """

    skip_bad: bool = False
    detailed: bool = False
    format: str = ""
    annotations: str = ""
    images: str = ""
    unlabelled: int = 0
    split: str = ""
    images_left_out: int = 0
    left_out: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def leave_out(self, problem: str, kind: type[DataError] = AnnotationError) -> None:
        """Leave out an item; `problem` names its file and says what is wrong with it.

        Without `skip_bad`, raises `kind` instead, with the option that leaves out such items.
        """
        problem = printable(problem)
        if not self.skip_bad:
            raise kind(f"{problem}; {REMEDY}")
        self.left_out.append(problem)
        self.images_left_out += issubclass(kind, ImageError)

    def warn(self, remark: str, each: Callable[[], Iterable[str]] | None = None) -> None:
        """Warn of something that looks wrong and is used nevertheless; `remark` names its file.

        each: returns a line for each of the things that the remark counts, which replace it in a detailed report.
        """
        lines = each() if self.detailed and each is not None else (remark,)
        self.warnings += map(printable, lines)

    def lines(self, split: str, index: DatasetIndex) -> list[str]:
        """Return lines that describe the split to a person; warnings are not among them."""
        split = self.split or split
        boxes = np.diff(index.offsets)
        crowd = int(index.crowd.sum())
        notes = {"without objects": int((boxes == 0).sum()), "without a label file": self.unlabelled}
        without = ", ".join(f"{count} {what}" for what, count in notes.items() if count)
        names = ", ".join(index.names[:8]) + (f" and {len(index.names) - 8} more" if len(index.names) > 8 else "")
        lines = [
            f"{split}: {self.format}, annotations {self.annotations}, images in {self.images}",
            f"{split}: {counted(len(index), 'image')}{f' ({without})' if without else ''}, "
            f"{counted(len(index.boxes), 'box')}{f' ({crowd} of crowds or difficult)' if crowd else ''}, "
            f"{counted(len(index.names), 'class')}: {names}",
            *left_out_lines(self.left_out, split),
        ]
        return list(map(printable, lines))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 image, 2 images, 2 boxes."""
    ending = "" if number == 1 else "es" if noun.endswith(("s", "x")) else "s"
    return f"{number} {noun}{ending}"


def first_few(items: Iterable[object]) -> str:
    """Return the first five items, and how many more there are, for a message."""
    texts = [str(item) for item in items]
    return ", ".join(texts[:5]) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "")


def printable(text: str) -> str:
    """Return a text in one line: characters that cannot be printed, such as a newline in a name, as escapes."""
    text = text.encode("utf-8", "backslashreplace").decode()
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def left_out_lines(left_out: Sequence[str], split: str) -> list[str]:
    """Return a line that counts the items left out of a split, and a line for each of the first ten."""
    if not left_out:
        return []
    more = f"; the first {NAMED}:" if len(left_out) > NAMED else ":"
    return [f"{split}: left out {len(left_out)}{more}", *(f"  {line}" for line in left_out[:NAMED])]
