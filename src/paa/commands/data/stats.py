"""paa data stats: a data set in numbers and plots."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from paa.commands.data.source import ReadOptions

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, kw_only=True)
class Stats(ReadOptions):
    """Count a data set: images and objects of each split and class, their sizes in pixels and of the image, shapes."""

    output: Path | None = None
    """Folder for stats.json, stats.md and stats.png (plots; needs matplotlib)."""
    json: bool = False
    """Print the numbers as JSON."""

    usual: ClassVar[None] = None
    """--help shows all options."""

    def run(self, console: Console) -> None:
        """Read, count, print and, with an output folder, write files."""
        from rich.markup import escape

        from paa.inspection.stats import dataset_stats
        from paa.report.dataset_plots import dataset_plots
        from paa.report.dataset_tables import stats_tables
        from paa.report.tables import markdown_table, rich_table
        from paa.runtime.files import check_folder, write_text

        if self.output is not None:
            check_folder(self.output)
        splits = self.read()
        stats = dataset_stats(splits)
        tables = stats_tables(stats)
        numbers = json.dumps({split: asdict(one) for split, one in stats.items()}, indent=1) + "\n"
        if self.output is not None:
            self.output.mkdir(parents=True, exist_ok=True)
            write_text(self.output / "stats.json", numbers)
            text = "\n\n".join(f"{title}:\n\n{markdown_table(rows)}" for title, rows in tables)
            write_text(self.output / "stats.md", text + "\n")
            dataset_plots(splits, self.output / "stats.png")
        if self.json:
            sys.stdout.write(numbers)
            return
        for title, rows in tables:
            console.print(rich_table(rows, escape(title)))
        if self.output is not None:
            console.print(f"written to {self.output}", markup=False)
