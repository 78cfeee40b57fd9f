"""paa data convert: a data set in another format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tyro.conf import Positional

from paa.commands.options import Format, limit_pixels
from paa.config import FileTransfer

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class ConvertData:
    """Write a data set as COCO, YOLO or Pascal VOC: boxes, classes, splits and images, in a new folder.

    Masks and keypoints are not converted. A line names what else the format cannot hold.
    """

    path: Positional[Path]
    """The data set: a COCO JSON file, or the folder of a COCO, Pascal VOC or YOLO data set."""
    output: Positional[Path]
    """The folder to write, which must not exist yet."""
    to: Format
    """The format to write."""
    files: FileTransfer = "copy"
    """Image files in the new folder: copies, symbolic links to the files, or hard links."""
    splits: tuple[str, ...] | None = None
    """Splits to convert; default: those of train, val and test that the data set has."""
    format: Format | None = None
    """Format of the data set that is read; default: recognised from what the path holds."""
    images: Path | None = None
    """Folder of the images; default: found from the annotations."""
    skip_bad: bool = False
    """Leave out annotations and images that cannot be used, instead of stopping."""
    max_pixels: int | None = None
    """Most pixels of an image; default: 178956970, or PAA_MAX_PIXELS of the environment."""

    usual: ClassVar[None] = None
    """--help shows all options."""

    def run(self, console: Console) -> None:
        """Read, write, and print what was written and what the format cannot hold."""
        from paa.data.all_splits import Source, read_splits
        from paa.data.convert import WRITERS, convert
        from paa.data.read_report import counted
        from paa.report.progress import progress_bar
        from paa.runtime.files import check_new_folder

        limit_pixels(self.max_pixels)
        check_new_folder(self.output)
        splits = read_splits(Source(self.path, self.splits or (), self.format, self.images), self.skip_bad)
        writer = WRITERS[self.to]
        with progress_bar(console, "images", sum(map(len, splits.values()))) as advance:
            convert(splits, self.output, writer, self.files, advance)
        for split, index in splits.items():
            what = f"{counted(len(index), 'image')}, {counted(len(index.boxes), 'object')}"
            console.print(f"{split}: {what}", markup=False, highlight=False)
        if lost := writer.cannot_hold(splits):
            console.print(f"{writer.name} cannot hold: {'; '.join(lost)}", markup=False, highlight=False)
        console.print(f"written to {self.output}", markup=False)
