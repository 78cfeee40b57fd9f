"""paa data split: train, val and test of a data set."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tyro.conf import Positional

from paa.commands.data.source import ReadOptions, allow_outside_hint
from paa.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.console import Console

    from paa.data.index import DatasetIndex

log = logging.getLogger("paa")


@dataclass(frozen=True, kw_only=True)
class SplitData(ReadOptions):
    """Divide a data set into train, val and test by shares, with the share of each class, and scenes kept together.

    The splits are written as COCO JSON, which holds all that a data set has; the images stay where they are. `paa data
    convert` goes on to another format.
    """

    output: Positional[Path]
    """The folder for train.json, val.json and test.json, which must not exist yet."""
    val_fraction: float = 0.15
    """Share of the images to validate on."""
    test_fraction: float = 0.0
    """Share of the images to test on; 0: no test.json."""
    group: str | None = None
    """Images stay together where the group () of this regular expression is the same text, as '(.*)_frame'."""
    similar: bool = True
    """Images that are equal or look alike stay together; without, images are not decoded."""
    seed: int = 0
    """Another seed gives other splits."""
    splits: tuple[str, ...] | None = ("train",)
    """Splits of the data set that are divided, all together."""
    workers: int = 2
    """Threads that decode images."""

    usual: ClassVar[tuple[str, ...]] = (
        *("path", "output", "val_fraction", "test_fraction", "group", "similar", "seed", "splits", "skip_bad"),
    )
    """The options that --help shows."""

    def run(self, console: Console) -> None:
        """Read, divide, write, and print what each split has."""
        import numpy as np

        from paa.data.divide import divide
        from paa.data.formats.coco.write_beside import write_beside
        from paa.data.groups import by_name, joined
        from paa.data.merge import merge
        from paa.report.dataset_tables import division_rows
        from paa.report.tables import rich_table
        from paa.runtime.files import check_new_folder

        shares = self._shares()
        for option, number in (("workers", self.workers), ("seed", self.seed)):
            if number < 0:
                raise ConfigError(f"--{option} must be at least 0, got {number}")
        check_new_folder(self.output)
        read = self.read()
        self._name_other_splits(read)
        index = merge(list(read.values()))
        similar: list[tuple[int, int]] = []
        if self.similar:
            index, similar = self._similar(console, index)
        links = [*by_name(index, self.group), *similar]
        groups = joined(len(index), links)
        splits = divide(index, groups, shares, self.seed)
        write_beside(splits, self.output)
        console.print(rich_table(division_rows(splits), "images, and objects of each class"))
        sizes = np.bincount(groups)
        together = f"{len(sizes)} groups that stay together, the largest of {sizes.max()}"
        console.print(f"{len(index)} images in {together}", highlight=False)
        console.print(f"written to {self.output}", markup=False)
        console.print(allow_outside_hint([index]), markup=False, highlight=False)

    def _name_other_splits(self, divided: Collection[str]) -> None:
        """Log which of the usual splits the data set has beside those that are divided: the new one lacks them."""
        from paa.data.all_splits import USUAL_SPLITS, split_reads
        from paa.data.files.splits import main_name

        if self.path.is_file():
            return
        others: list[str] = []
        for name in USUAL_SPLITS:
            if main_name(name) in map(main_name, divided):
                continue
            try:
                reads = list(split_reads(replace(self.source(), splits=(name,)), skip_bad=True))
            except DataError:  # there is no such split, or nothing of a data set in it
                continue
            others += [name for read in reads if read.index is not None]
        if others:
            names = " ".join([*divided, *others])
            log.warning(f"not divided, and not in {self.output}: {', '.join(others)}; --splits {names} takes all")

    def _shares(self) -> dict[str, float]:
        """Return the share of each split. Raises ConfigError for shares that are none."""
        for option, value in (("val-fraction", self.val_fraction), ("test-fraction", self.test_fraction)):
            if not 0 <= value < 1:
                raise ConfigError(f"--{option} must be from 0 to below 1, got {value:g}")
        train = 1 - self.val_fraction - self.test_fraction
        if train <= 0 or train == 1:
            raise ConfigError(
                f"--val-fraction {self.val_fraction:g} and --test-fraction {self.test_fraction:g} leave "
                f"{'nothing to train on' if train <= 0 else 'nothing to divide'}"
            )
        shares = {"train": train, "val": self.val_fraction, "test": self.test_fraction}
        return {split: share for split, share in shares.items() if share}

    def _similar(self, console: Console, index: DatasetIndex) -> tuple[DatasetIndex, list[tuple[int, int]]]:
        """Return the images that can be decoded, and the pairs of them that are equal or look alike.

        Raises ImageError for one that cannot be decoded, unless such images are left out.
        """
        import numpy as np

        from paa.data.read_report import REMEDY
        from paa.errors import ImageError
        from paa.inspection.duplicates import alike
        from paa.inspection.images import look_at_images
        from paa.report.progress import progress_bar

        with progress_bar(console, "images", len(index)) as advance:
            facts = look_at_images(index, threads=self.workers, advance=advance)
        errors = [fact.error for fact in facts if fact.error]
        if errors and not self.skip_bad:
            raise ImageError(f"{errors[0]}; {REMEDY}")
        for error in errors:
            log.warning(f"left out: {error}")
        read = [i for i, fact in enumerate(facts) if not fact.error]
        if not read:
            raise ImageError(f"{self.path}: none of the {len(index)} images can be decoded")
        return index.select(np.array(read)), list(alike([facts[i] for i in read]))
