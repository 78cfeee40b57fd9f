"""A study: cell after cell, each once, also where several processes share them; results at any time."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from paa.assigners import make_assigner
from paa.data.overlap import overlap_warning
from paa.errors import ConfigError, PaaError, RunError, one_line
from paa.runtime.distributed import Process
from paa.runtime.files import sha256, write_text
from paa.runtime.folder_lock import folder_lock
from paa.runtime.out_of_memory import is_out_of_memory
from paa.runtime.stop_signals import StopSignals
from paa.study.cells import Cell, cells_of, config_of
from paa.study.compare import RuleComparison, compare_on
from paa.study.file import Study
from paa.study.results import FAILED, Results, comparison_path, gather, read_comparison
from paa.study.run_cell import RESULT, CellResult, load_trained, read_result, read_splits, run_cell
from paa.study.terms import CHECKSUM, claim_terms
from paa.training.init import resolve_init
from paa.training.many_runs import make_folder_of_runs, warnings_only
from paa.training.records import Listener, ignore
from paa.training.settings import check_settings

log = logging.getLogger("paa")


def run_study(
    study: Study,
    folder: Path,
    process: Process,
    listener: Listener = ignore,
    signals: StopSignals | None = None,
    changed: Callable[[Results], object] = lambda results: None,
) -> Results:
    """Run the cells of a study that are neither finished nor another process's, and return what is found so far.

    listener: gets the records of all runs. changed: called with the results after each cell. A cell that fails is noted
    and tried again by the next call. ConfigError or DataError, before anything is written, for what no cell could run
    with; StoppedError where signals end the study early: the same call goes on.
    """
    signals = signals or StopSignals()
    with signals.may_interrupt():
        images = _check(study, process)
    make_folder_of_runs(folder)
    claim_terms(study, folder, images)
    cells, busy = cells_of(study), 0
    for number, cell in enumerate(cells, start=1):
        own = folder / cell.folder
        if not (own / RESULT).exists():
            own.mkdir(parents=True, exist_ok=True)
            with ExitStack() as held:
                try:
                    held.enter_context(folder_lock(own))
                except RunError:
                    busy += 1
                    continue
                if not (own / RESULT).exists():  # nor did another process finish it meanwhile
                    log.info(f"cell {number} of {len(cells)}: {cell}")
                    _run(study, cell, folder, process, listener, signals)
                    changed(gather(study, folder))
        with signals.may_interrupt(), warnings_only():
            if _compare(study, cell, folder, process):
                changed(gather(study, folder))
    if busy:
        log.info(f"{busy} cells were other processes': the same command goes on with what they leave")
    results = gather(study, folder)
    changed(results)
    return results


def _check(study: Study, process: Process) -> dict[str, dict[str, int | str]]:
    """Raise a PaaError for what no cell could run with: options, rules, data sets without a split to test on.

    Returns what each data set holds, for `claim_terms`.
    """
    if process.world > 1:
        raise ConfigError(f"paa study is one process, not {process.world}: start it without torchrun, several times")
    try:
        for cell in cells_of(study):
            check_settings(config_of(study, cell), process.world)
        resolve_init(config_of(study, cells_of(study)[0]), None)
    except ConfigError as error:
        raise ConfigError(str(error) if str(study.file) in str(error) else f"{study.file}: {error}") from error
    try:
        for rule in study.rules:
            make_assigner(rule.text)
    except ConfigError as error:
        raise ConfigError(f"{study.file}: rule {rule.name}: {error}") from error
    tiles = config_of(study, cells_of(study)[0]).recipe.augment.tiles
    if tiles is not None:
        raise ConfigError(f"{study.file}: augment.tiles: a study tests on whole images, so it must train on them too")
    images = {}
    for data in study.data:
        splits = read_splits(config_of(study, next(cell for cell in cells_of(study) if cell.data == data.name)))
        if (line := overlap_warning(*splits)) is not None:
            log.warning(f"data {data.name}: {line}")
        images[data.name] = {
            f"{what} to {use} in data {data.name}": value
            for index, use in zip(splits, ("train on", "test on"))
            for what, value in (("images", len(index)), ("objects", len(index.boxes)), (CHECKSUM, index.checksum()))
        }
    return images


def _run(
    study: Study, cell: Cell, folder: Path, process: Process, listener: Listener, signals: StopSignals
) -> CellResult | None:
    """Run a cell; None where it fails, which is logged and noted in its folder."""
    own = folder / cell.folder
    is_code = any(rule.is_code for rule in study.rules if rule.name == cell.rule)
    try:
        with warnings_only():
            result = run_cell(config_of(study, cell), cell, own, process, listener, signals)
    except Exception as error:
        if not _is_of_a_cell(error, is_code):
            raise
        text = one_line(error, 500) if isinstance(error, PaaError) else f"{type(error).__name__}: {one_line(error)}"
        write_text(own / FAILED, text + "\n")
        log.warning(f"failed: {cell}: {text}")
        return None
    (own / FAILED).unlink(missing_ok=True)
    ap = next(iter(result.variants.values()))["AP"]
    log.info(f"{cell}: AP {100 * (ap or 0):.1f}, {result.seconds / 60:.1f} minutes of training")
    return result


def _compare(study: Study, cell: Cell, folder: Path, process: Process) -> bool:
    """Compare all rules on a cell's model, if it is the one to compare them on, and it is not done yet.

    That is the model of the study's first rule and first seed. Returns whether there is something new.
    """
    if (cell.rule, cell.seed) != (study.rules[0].name, study.seeds[0]):
        return False
    if (result := read_result(folder / cell.folder)) is None:
        return False
    written, path = {rule.name: rule.written for rule in study.rules}, comparison_path(folder, cell.data, cell.epochs)
    sources = {
        rule.name: sha256(rule.source) for rule in study.rules if rule.source is not None and rule.source.is_file()
    }
    before = read_comparison(folder, cell.data, cell.epochs)
    if before is not None and before.rules == written and before.sources == sources:
        return False
    try:
        detector = load_trained(folder / cell.folder, process)
        config = config_of(study, cell)
        index, _ = read_splits(config, detector.names)
        rules = {rule.name: make_assigner(rule.text) for rule in study.rules}
        batch_size = result.recipe["schedule"]["reference_batch"]
        found = compare_on(detector, index, rules, batch_size, process, config.data.skip_bad)
    except Exception as error:
        if not _is_of_a_cell(error, any(rule.is_code for rule in study.rules)):
            raise
        log.warning(f"rules are not compared on the model of {cell}: {type(error).__name__}: {one_line(error)}")
        return False
    comparison = RuleComparison(cell.data, cell.epochs, str(cell), written, found, sources)
    write_text(path, json.dumps(asdict(comparison), indent=1) + "\n")
    return True


def _is_of_a_cell(error: Exception, is_code: bool) -> bool:
    """Return whether other cells may go on after an error; is_code: of one's own rule, which may raise anything."""
    return isinstance(error, PaaError) or is_code or is_out_of_memory(error)  # other rules may need less memory
