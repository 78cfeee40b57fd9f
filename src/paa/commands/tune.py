"""paa tune: search for a better recipe, in trials that are short or long training runs."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tyro.conf import Suppress

from paa.commands.train import Train
from paa.config import DataConfig

if TYPE_CHECKING:
    from rich.console import Console

    from paa.report.tables import Row
    from paa.tuning.study import FinishedTrial
    from paa.tuning.tune import TuneResult


@dataclass(frozen=True)
class Tune(Train):
    """Search for a better recipe for a data set. Takes the options of paa train: what you name is not tuned.

    The same command goes on where it was stopped. Trials are judged on a share of the training images."""

    output: Path | None = None
    """Folder of the search: its database, and a folder for each trial; default: runs/tune-DATA."""
    resume: Suppress[str | None] = None
    trials: int = 20
    """Trials in the end, with those of earlier calls; the first is the recipe as it is."""
    hours: float | None = None
    """Begin no trial after this time."""
    trial_steps: int | None = None
    """Steps of each trial; default: as many as a run has."""
    prune: bool = True
    """Stop a trial whose AP is below the median of earlier trials."""

    usual: ClassVar[tuple[str, ...]] = (
        "data.path",
        "data.val_fraction",
        "data.skip_bad",
        "recipe",
        "output",
        "trials",
        "hours",
        "trial_steps",
        "prune",
        "init",
        "batch_size",
        "runtime.device",
        "runtime.precision",
        "runtime.workers",
        "model.backbone",
        "model.min_size",
    )
    """The options that --help shows."""

    def run(self, console: Console) -> None:
        """Run trials, and print them as a table, the best one, and the command that trains with its recipe.

        A search that is interrupted ends with the exit code of such a run.
        """
        from dataclasses import replace

        from paa.report.progress import TrainingProgress
        from paa.runtime.distributed import start
        from paa.runtime.stop_signals import StoppedError, StopSignals
        from paa.training.records import ignore
        from paa.tuning.tune import TuneConfig, tune

        train = self._config()
        if self.output is None:
            train = replace(train, output=Path("runs") / f"tune-{train.data.name}")
        config = TuneConfig(train, self.trials, self.hours, self.trial_steps, self.prune)
        listener = TrainingProgress(console) if console.is_terminal else ignore
        with StopSignals().handled() as signals, start(self.runtime.device, self.runtime.process_timeout) as process:
            try:
                result = tune(config, process, listener, signals)
            except StoppedError:
                reason = signals.name or "the end of its time (--max-hours)"
                print(f"paa: interrupted by {reason}; the same command goes on", file=sys.stderr)
                sys.exit(signals.exit_code)
        self._print(console, result)

    def _print(self, console: Console, result: TuneResult) -> None:
        from paa.assigners.rule_text import parse_rule
        from paa.report.tables import percent, rich_table

        if not result.finished:
            return
        console.print(rich_table(_rows(result.finished), f"trials, judged on {result.val_images} images"))
        if result.importances:
            rows = [{"parameter": n, "share": percent(share)} for n, share in result.importances.items()]
            console.print(rich_table(rows, "what mattered, in percent of the differences between trials"))
        if result.best is None:
            return
        base = result.finished[0]
        console.print(
            f"best: {result.best.folder}, AP {percent(result.best.ap)}; the recipe as it is: {percent(base.ap)}. "
            f"On {result.val_images} images small differences are chance, and the best of several is a lucky one: "
            "compare on images that no trial saw.",
            markup=False,
            highlight=False,
        )
        words = ["paa", "train", "--recipe", str(result.recipe), *_data_options(self.data)]
        if parse_rule(self.assigner).is_code:  # which no recipe may name
            words += ["--assigner", self.assigner]
        if self.accumulate > 1:
            words += ["--accumulate", str(self.accumulate)]
        console.print(shlex.join(words), markup=False, highlight=False, soft_wrap=True)


def _data_options(data: DataConfig) -> list[str]:
    """Return the options that name a data set again: its path, and all that is not as by default."""
    words = ["--data", str(data.path)]
    for field in fields(data):
        value, option = getattr(data, field.name), field.name.replace("_", "-")
        if field.name == "path" or value == field.default:
            continue
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", *map(str, value if isinstance(value, tuple) else (value,))]
    return words


def _rows(finished: list[FinishedTrial]) -> list[Row]:
    """Return a row for each trial; the columns of its values are named without the group."""
    from paa.report.tables import percent

    return [
        {
            "trial": trial.folder,
            "AP": percent(trial.ap),
            "ended": trial.state,
            "minutes": f"{trial.seconds / 60:.1f}",
            **{
                name.partition(".")[2] or name: f"{value:.2g}" if isinstance(value, float) else str(value)
                for name, value in trial.values.items()
            },
        }
        for trial in finished
    ]
