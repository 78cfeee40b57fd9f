"""paa data convert: a data set in another format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tyro.conf import Positional

from paa.commands.data.source import ReadOptions, allow_outside_hint
from paa.commands.options import Format
from paa.config import FileTransfer

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, kw_only=True)
class ConvertData(ReadOptions):
    """Write a data set as COCO, YOLO or Pascal VOC: boxes, classes, splits and images, in a new folder.

    Masks and keypoints are not converted. A line names what else the format cannot hold.
    """

    output: Positional[Path]
    """The folder to write, which must not exist yet."""
    to: Format
    """The format to write."""
    files: FileTransfer = "copy"
    """Image files in the new folder: copies, symbolic links to the files, or hard links."""

    usual: ClassVar[None] = None
    """--help shows all options."""

    def run(self, console: Console) -> None:
        """Read, write, and print what was written and what the format cannot hold."""
        from paa.data.convert import WRITERS, convert
        from paa.data.read_report import counted
        from paa.report.progress import progress_bar
        from paa.runtime.files import check_new_folder

        check_new_folder(self.output)
        splits = self.read()
        writer = WRITERS[self.to]
        with progress_bar(console, "images", sum(map(len, splits.values()))) as advance:
            convert(splits, self.output, writer, self.files, advance)
        for split, index in splits.items():
            what = f"{counted(len(index), 'image')}, {counted(len(index.boxes), 'object')}"
            console.print(f"{split}: {what}", markup=False, highlight=False)
        if lost := writer.cannot_hold(splits):
            console.print(f"{writer.name} cannot hold: {'; '.join(lost)}", markup=False, highlight=False)
        console.print(f"written to {self.output}", markup=False)
        if self.files == "link":
            console.print(allow_outside_hint(splits.values()), markup=False, highlight=False)
