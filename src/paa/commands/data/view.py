"""paa data view: sheets of images with their objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from paa.commands.data.source import ReadOptions
from paa.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from paa.data.index import DatasetIndex

_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, kw_only=True)
class View(ReadOptions):
    """Write sheets of a data set's images with their boxes: all, or those of a class, a size or a name.

    Where there are more images than the sheets hold, they are evenly spread over all of them.
    """

    output: Path = Path("sheet.jpg")
    """The sheet, *.jpg or *.png; of several sheets, the second is NAME-2.jpg, and so on."""
    classes: tuple[str, ...] | None = None
    """Objects of these classes only; default: all."""
    least_side: float = 0.0
    """Objects of at least this many pixels a side (of the square of their area)."""
    most_side: float | None = None
    """Objects of at most this many pixels a side; default: any."""
    only: tuple[str, ...] | None = None
    """Images of these names, in which * stands for any text, or ids; default: all."""
    most: int = 24
    """Images of a sheet, at most."""
    sheets: int = 1
    """Sheets, at most."""
    columns: int = 4
    """Images side by side."""
    width: int = 1600
    """Width of a sheet, in pixels."""

    usual: ClassVar[tuple[str, ...]] = (
        *("path", "output", "classes", "least_side", "most_side", "only", "splits"),
        *("most", "sheets", "columns", "width"),
    )
    """The options that --help shows."""

    def run(self, console: Console) -> None:
        """Read, choose, draw and write."""
        import numpy as np

        from paa.drawing.jpeg import jpeg
        from paa.inspection.selection import Wanted, select, spread
        from paa.report.dataset_sheet import Item, object_sheet
        from paa.runtime.files import check_folder, whole_file

        self._check_options()
        check_folder(self.output.absolute().parent)
        most_side = float("inf") if self.most_side is None else self.most_side
        wanted = Wanted(self.classes or (), self.least_side, most_side, self.only or ())
        items = []
        sheets = [self._sheet(number) for number in range(1, self.sheets + 1)]
        for split, index in self.read().items():
            self._check_overwrites_no_image_of(index, sheets)
            positions, objects = select(index, wanted)
            items += [Item(split, index, i, objects) for i in positions.tolist()]
        if not items:
            raise ConfigError(f"{self.path}: no image is as --classes, --least-side, --most-side and --only say")
        chosen = spread(np.arange(len(items)), self.most * self.sheets).tolist()
        self.output.parent.mkdir(parents=True, exist_ok=True)
        for path, start in zip(sheets, range(0, len(chosen), self.most)):
            shown = [items[i] for i in chosen[start : start + self.most]]
            sheet = object_sheet(shown, self.columns, self.width, self.skip_bad)
            if sheet is None:
                continue
            with whole_file(path) as temporary:
                if path.suffix.lower() == ".png":
                    sheet.save(temporary, "PNG")
                else:
                    temporary.write_bytes(jpeg(sheet))
            console.print(f"written to {path}", markup=False)
        console.print(f"{len(chosen)} of {len(items)} images", highlight=False)

    def _sheet(self, number: int) -> Path:
        """Return the file of a sheet, counted from 1."""
        return self.output if number == 1 else self.output.with_stem(f"{self.output.stem}-{number}")

    def _check_overwrites_no_image_of(self, index: DatasetIndex, sheets: list[Path]) -> None:
        """Raise ConfigError where the file of a sheet is an image of the data set.

        It may be one of a split that was not read: any file beside an image is taken for one.
        """
        existing = {sheet.resolve().parent: sheet for sheet in sheets if sheet.exists()}
        for i in range(len(index)) if existing else ():
            if (sheet := existing.get(index.path(i).resolve().parent)) is not None:
                raise ConfigError(f"{sheet}: may be an image of the data set; give the sheet another --output")

    def _check_options(self) -> None:
        if self.output.suffix.lower() not in _SUFFIXES:
            raise ConfigError(f"{self.output}: --output must end in {', '.join(_SUFFIXES)}")
        for option, value, least, highest in (
            ("most", self.most, 1, 1000),
            ("sheets", self.sheets, 1, 10_000),
            ("columns", self.columns, 1, 100),
            ("width", self.width, 100, 20_000),
        ):
            if not least <= value <= highest:
                raise ConfigError(f"--{option} must be from {least} to {highest}, got {value}")
        for option, side in (("least-side", self.least_side), ("most-side", self.most_side or 0.0)):
            if not side >= 0:  # NaN neither
                raise ConfigError(f"--{option} must be at least 0, got {side}")
        if self.width // self.columns < 50:
            raise ConfigError(
                f"--columns {self.columns}: of --width {self.width}, less than 50 pixels an image are left"
            )
