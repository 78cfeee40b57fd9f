"""paa demo: train, evaluate and draw on a data set of drawn shapes, in minutes, on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from paa.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Demo:
    """Make a data set of shapes, train a small detector on it, evaluate it, and show what it sees."""

    output: Path = Path("demo")
    """Folder for the data set, the run and the evaluation."""
    images: int = 0
    """Images of the data set; 0: 2000."""
    steps: int = 0
    """Training steps; 0: 1000."""
    device: str | None = None
    """cpu, cuda, ...; default: a GPU if there is one."""

    usual: ClassVar[None] = None
    """--help shows all options."""

    def run(self, console: Console) -> None:
        """Run the demo, and print its numbers."""
        from paa.commands.run_demo import IMAGES, STEPS, run_demo
        from paa.report.progress import TrainingProgress
        from paa.report.tables import class_rows, rich_table, summary_rows
        from paa.runtime.distributed import start
        from paa.runtime.files import check_folder

        if self.images < 0 or self.steps < 0:
            raise ConfigError(f"--images and --steps cannot be negative, got {self.images} and {self.steps}")
        check_folder(self.output)
        with start(self.device) as process:
            metrics, seconds = run_demo(
                self.output,
                process,
                TrainingProgress(console),
                images=self.images or IMAGES,
                steps=self.steps or STEPS,
            )
        console.print(rich_table(summary_rows(metrics), "validation set of shapes"))
        console.print(rich_table(class_rows(metrics), "classes"))
        console.print(f"training and evaluation took {seconds:.0f} s")
        console.print(f"images beside the truth: {self.output / 'evaluation' / 'sheet.jpg'}", markup=False)
