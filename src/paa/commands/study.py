"""paa study: compare assignment rules, with everything else fixed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import tyro
from tyro.conf import Positional

from paa.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from paa.study.results import Results


@dataclass(frozen=True)
class StudyCommand:
    """Compare assignment rules: train one run for each rule, data set and seed of STUDY.toml, all else being equal.

    The same command goes on where it was stopped, and several at a time share the runs. Results so far, with intervals
    over seeds: results.html, results.md and results.json in the output folder."""

    study: Annotated[Positional[Path], tyro.conf.arg(metavar="STUDY.toml")]
    """The file that says what is compared; docs/how-to/rules.md describes it."""
    data: Path | None = None
    """Folder to which the paths of data sets are relative; default: that of the file."""
    output: Path | None = None
    """Folder of the study: a folder for each run, and the results; default: runs/study-NAME."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; default: what the file says, else a GPU if there is one."""
    report_only: bool = False
    """Run nothing: write the results of what is finished."""
    json: bool = False
    """Print the results as JSON instead of tables."""

    usual: ClassVar[None] = None

    def run(self, console: Console) -> None:
        """Run what is missing, write and print the results; ends with code 1 where runs failed.

        A study that is interrupted has an exit code of its own.
        """
        import json
        from functools import partial

        from paa.report.console import make_console
        from paa.report.progress import TrainingProgress
        from paa.report.study import study_dict, write_study
        from paa.runtime.distributed import start
        from paa.runtime.stop_signals import StoppedError, StopSignals
        from paa.study.file import read_study
        from paa.study.results import gather
        from paa.study.run import run_study
        from paa.study.terms import check_terms
        from paa.training.records import ignore

        study = read_study(self.study, self.data)
        folder = self.output or Path("runs") / f"study-{study.name}"
        shown_on = make_console(stderr=True) if self.json else console
        listener = TrainingProgress(shown_on) if shown_on.is_terminal else ignore
        if not self.report_only:
            device = self.device or study.groups["runtime"].get("device")
            if device is not None and not isinstance(device, str):
                raise ConfigError(f"{self.study}: runtime.device: expected a text, as 'cuda', got {device!r}")
            with StopSignals().handled() as signals, start(device, None) as process:
                try:
                    run_study(study, folder, process, listener, signals, partial(write_study, folder))
                except StoppedError:
                    print(f"paa: interrupted by {signals.name}; the same command goes on", file=sys.stderr)
                    sys.exit(signals.exit_code)
        else:
            check_terms(study, folder)
        results = gather(study, folder)
        if self.report_only:
            write_study(folder, results)
        if self.json:
            print(json.dumps(study_dict(results), indent=2))
        else:
            self._print(results, folder, console)
        if results.failed:
            sys.exit(1)

    def _print(self, results: Results, folder: Path, console: Console) -> None:
        from paa.report.study import PAGE
        from paa.report.study_tables import about, study_tables
        from paa.report.tables import rich_table

        for line in about(results):
            console.print(line, markup=False, highlight=False)
        for table in study_tables(results, short=True):
            console.print(rich_table(table.rows, table.title))
        console.print(f"written to {folder}; {folder / PAGE} shows all", markup=False, highlight=False)
