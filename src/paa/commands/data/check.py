"""paa data check: every problem of a data set."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from paa.commands.data.source import SourceOptions
from paa.commands.options import DetectorFormat
from paa.config import LoadingConfig, ModelConfig
from paa.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from paa.data.all_splits import SplitRead
    from paa.inspection.check import Checked
    from paa.predictor import PAA


@dataclass(frozen=True, kw_only=True)
class Check(SourceOptions):
    """Find every problem of a data set: annotations and images that cannot be used, duplicates, images that are in two
    splits, classes that differ, objects that are too small or get too few anchors.

    Exit code 0: no problem but hints; 1: problems; 2: the data set cannot be read.
    """

    recipe: str = "auto"
    """Recipe, or recipe.json of a run, whose image size and anchors count; auto: what paa train decides here."""
    min_size: int | None = None
    """Short side of the images in training, in pixels; default: the recipe's."""
    max_size: int | None = None
    """Cap on their longer side; default: the recipe's, or 5/3 of --min-size."""
    checkpoint: Path | None = None
    """A detector, whose sizes and anchors count, and whose assignment says how many positives each object gets."""
    checkpoint_format: DetectorFormat | None = None
    """Format of the checkpoint; default: recognised from its content."""
    assigner: str | None = None
    """The rule whose positives are counted; default: the one that the checkpoint was trained by."""
    small: float = 8.0
    """Objects of less than this many pixels a side (a square of their area), in the resized image, are named."""
    positives: int = 1
    """Objects to which the checkpoint gives fewer positives than this are named."""
    decode: bool = True
    """Decode every image, to find damage and duplicates; without, only equal files are found."""
    strict: bool = False
    """Exit code 1 for hints too."""
    show: int = 10
    """Problems of each kind that are printed; 0: all."""
    json: bool = False
    """Print all problems as JSON."""
    workers: int = 2
    """Threads that decode images, and processes that load those for the checkpoint."""
    device: str | None = None
    """Where the checkpoint runs: cpu, cuda, ...; default: a GPU if there is one."""

    usual: ClassVar[tuple[str, ...]] = (
        *("path", "splits", "recipe", "min_size", "max_size", "checkpoint", "small", "positives"),
        *("decode", "strict", "show", "json", "workers"),
    )
    """The options that --help shows."""

    def run(self, console: Console) -> None:
        """Check, print the problems, and end with the exit code that the class describes."""
        from paa.assigners import make_assigner
        from paa.assigners.rule_text import rule_of_training
        from paa.inspection.check import Limits, check_splits, read_for_check
        from paa.predictor import load
        from paa.report.console import make_console
        from paa.report.progress import progress_bar

        self._check_options()
        reads = read_for_check(self.source())
        model, rule = None, self.assigner or "paa"
        if self.checkpoint is not None:
            model = load(self.checkpoint, self.device, format=self.checkpoint_format)
            rule = self.assigner or rule_of_training(model.provenance, self.checkpoint)
        config, size_from = self._training_config(reads, model)
        shown_on = make_console(stderr=True) if self.json else console
        checked = check_splits(
            reads,
            config,
            model=model,
            rule=make_assigner(rule),
            limits=Limits(self.small, self.positives),
            decode=self.decode,
            loading=LoadingConfig(self.workers, batch_size=1),
            progress=lambda name, total: progress_bar(shown_on, name, total),
        )
        if self.json:
            sys.stdout.write(json.dumps(self._to_dict(checked, config), indent=1) + "\n")
        else:
            self._print(console, checked, config, size_from)
        if checked.count("error") or checked.count("warning") or (self.strict and checked.problems):
            sys.exit(1)

    def _check_options(self) -> None:
        numbers = {"show": self.show, "workers": self.workers, "small": self.small, "positives": self.positives}
        for option, value in numbers.items():
            if not value >= 0:  # NaN neither
                raise ConfigError(f"--{option} must be at least 0, got {value}")
        if self.assigner is not None and self.checkpoint is None:
            raise ConfigError("--assigner needs --checkpoint: by its predictions the rule decides")
        if self.positives != Check.positives and self.checkpoint is None:
            raise ConfigError("--positives needs --checkpoint: by its predictions anchors become positive")
        if self.checkpoint_format is not None and self.checkpoint is None:
            raise ConfigError("--checkpoint-format needs --checkpoint")
        if self.checkpoint is not None and self.recipe != "auto":
            raise ConfigError("--checkpoint and --recipe exclude each other: a checkpoint has its own size and anchors")

    def _training_config(self, reads: list[SplitRead], model: PAA | None) -> tuple[ModelConfig, str]:
        """Return the configuration whose sizes and anchors count, and where they are from, for people."""
        from dataclasses import replace

        from paa.config import check_model
        from paa.recipes import AUTO, find_recipe
        from paa.runtime.device import pick_device
        from paa.training.auto import decided_model

        indexes = [read.index for read in reads if read.index is not None]
        if model is not None:
            config, source = model.config, f"of {self.checkpoint}"
        elif self.recipe == AUTO and indexes:
            config, source = decided_model(indexes[0], pick_device(self.device), self.min_size), "as auto decides"
        else:
            config, source = find_recipe(self.recipe).model, f"of {self.recipe}"
        if self.min_size is not None or self.max_size is not None:
            min_size = config.min_size if self.min_size is None else self.min_size
            max_size = round(min_size * 5 / 3) if self.max_size is None else self.max_size
            config, source = replace(config, min_size=min_size, max_size=max_size), f"{source}, size as named"
        check_model(config)
        return config, source

    def _to_dict(self, checked: Checked, config: ModelConfig) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "splits": {
                name: {"images": len(index), "objects": len(index.boxes), "classes": list(index.names)}
                for name, index in checked.splits.items()
            },
            "training": {
                "min_size": config.min_size,
                "max_size": config.max_size,
                "anchor_scale": config.anchor_scale,
                "first_level": config.first_level,
                "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
            },
            "counts": {level: checked.count(level) for level in ("error", "warning", "hint")},
            "positives": {split: asdict(positives) for split, positives in checked.positives.items()},
            "problems": [problem.to_dict() for problem in checked.problems],
        }

    def _print(self, console: Console, checked: Checked, config: ModelConfig, size_from: str) -> None:
        """Print the problems by their kind, and a summary."""
        from paa.report.dataset_problems import problem_lines, summary_lines

        for text in problem_lines(checked.problems, self.show):
            console.print(text)
        for text in summary_lines(checked, config, size_from):
            console.print(text)
