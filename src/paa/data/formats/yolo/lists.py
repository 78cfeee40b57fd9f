"""Lists of images: text files with a path on each line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from paa.data.files.boundary import is_inside, outside
from paa.data.files.finder import FileFinder
from paa.data.files.folders import files_in
from paa.data.files.lookup import PathLookup
from paa.data.files.paths import path_exists, path_parts
from paa.data.files.splits import is_other_split, split_of
from paa.data.files.text import read_text
from paa.data.read_report import ReadReport


class ImageList:
    """The images that a list names.

    file: the list. bases: the folders that paths may be relative to, besides the list's own. images: the folder that a
    person named, which is used instead of all these.
    """

    def __init__(self, file: Path, bases: Sequence[Path], images: Path | None, report: ReadReport) -> None:
        self._file = file
        self._bases = tuple(bases) if images is None else (images,)
        self._starts = (file.parent, *bases) if images is None else (images,)
        self._report = report
        self._finder = FileFinder()
        self._endings: PathLookup[Path] | None = None

    def images(self) -> Iterator[Path]:
        """Yield the image of each line; one that does not exist, or fits several images, is left out."""
        texts: dict[Path, str] = {}
        found_by_ending: list[Path] = []
        for number, line in enumerate(read_text(self._file).splitlines(), start=1):
            text = line.strip().strip("\"'")
            if not text:
                continue
            place, found = f"{self._file} line {number}", self._exact(text)
            if found is None:
                fitting = self._by_ending(text)
                if len(fitting) != 1:
                    fault = f"fits {fitting[0]} and {fitting[1]} alike" if fitting else self._missing(text)
                    self._report.leave_out(f"{place}: {text} {fault}")
                    continue
                (found,) = fitting
                if path_parts(text)[0] != "data":  # darknet's data/ never exists
                    found_by_ending.append(found)
            if texts.setdefault(found, text) != text:
                self._report.leave_out(f"{place}: {text} and {texts[found]} both lead to {found}")
                continue
            yield found
        if found_by_ending:
            self._report.warn(
                f"{self._file}: {len(found_by_ending)} paths do not exist in the data set; images with the same ending "
                f"are read instead, such as {found_by_ending[0]}"
            )

    def _exact(self, text: str) -> Path | None:
        """Return the image at the path itself, relative to the list or a base."""
        native = text if self._find(self._file.parent / text) else text.replace("\\", "/")
        return next((found for start in self._starts if (found := self._find(start / native))), None)

    def _missing(self, text: str) -> str:
        """Return what is wrong with a line whose image was not found."""
        beyond = [start / text for start in self._starts if not is_inside(start / text) and path_exists(start / text)]
        return outside(beyond[0]) if beyond else "does not exist"

    def _find(self, path: Path) -> Path | None:
        found = self._finder.find(str(path.parent), path.name)
        return Path(found.path) if found else None

    def _by_ending(self, text: str) -> Sequence[Path]:
        """Return the images with the longest matching ending, without those of splits that the line does not name."""
        if self._endings is None:
            files = dict.fromkeys(file for base in self._bases for file in files_in(base, recursive=True))
            self._endings = PathLookup(file for file in files if file.suffix.lower() != ".txt")
        named = [split for part in path_parts(text)[:-1] if (split := split_of(part))]
        return [file for file in self._endings.find(text) if not named or not self._is_of_another(named, file)]

    def _is_of_another(self, splits: Sequence[str], file: Path) -> bool:
        """Return whether a file lies in the folder of a split that is not among these."""
        base = next((base for base in self._bases if file.is_relative_to(base)), file.parent)
        return any(all(is_other_split(part, split) for split in splits) for part in file.relative_to(base).parts)
