"""On which terms the cells in a study's folder are run: a changed STUDY.toml may add cells, but not mix terms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paa.config import flat
from paa.errors import ConfigError, RunError
from paa.runtime.files import sha256, write_text
from paa.runtime.folder_lock import folder_lock
from paa.study.cells import cells_in, cells_of, config_of
from paa.study.file import Rule, Study
from paa.study.json_file import read_json
from paa.study.run_cell import has_begun
from paa.training.teacher import teacher_identity

CHECKSUM = "checksum of the images"
"""A term of images that earlier versions did not note."""

_FILE = "terms.json"
_RESULTS = "results.json"
_TEACHER = "teacher"
_PATIENCE = 30.0
"""Seconds for which another process of the same study may hold the file."""

_Terms = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Part (all, data, images, rules) -> name of a data set or rule -> term -> value."""


def claim_terms(study: Study, folder: Path, images: Mapping[str, Mapping[str, Any]]) -> None:
    """Note the terms of a study in its folder; ConfigError where cells of the same names were run on others.

    images: data set -> what it holds. Cells that failed before they had learned anything bind nobody.
    """
    path = folder / _FILE
    if (folder / _RESULTS).exists() and not path.exists():
        raise ConfigError(f"{folder}: has a {_RESULTS} that is no study's; give another --output")
    with folder_lock(folder, _PATIENCE):
        before = _noted(path, study)
        now = json.loads(json.dumps({**_terms(study), "images": images}))
        _check(study, folder, _in_force(before, folder), now)
        together = {part: {**before.get(part, {}), **now[part]} for part in now}
        if together != before:
            write_text(path, json.dumps(together, indent=2) + "\n")


def check_terms(study: Study, folder: Path) -> None:
    """Raise ConfigError unless the cells in a folder are of this study, and run on the terms that it says."""
    if not (folder / _FILE).exists():
        raise ConfigError(f"{folder}: no study was run there; --output names the folder of one")
    now = json.loads(json.dumps(_terms(study)))
    _check(study, folder, _in_force(_noted(folder / _FILE, study), folder), now)


def _check(study: Study, folder: Path, before: _Terms, now: _Terms) -> None:
    changed = [
        f"{name} {value!r}, not {now[part][key].get(name)!r}"
        for part in now
        for key, values in before.get(part, {}).items()
        if key in now[part]
        for name, value in _with_missing(values, now[part][key])
        if value != now[part][key].get(name) and not (value is None and name.startswith((CHECKSUM, _TEACHER)))
    ]
    if changed:
        raise ConfigError(
            f"{study.file}: {folder} has cells that were run with {'; '.join(changed)}: give another --output, or "
            "another name to a rule or data set that has changed"
        )


def _noted(path: Path, study: Study) -> _Terms:
    noted = read_json(path, dict[str, dict[str, dict[str, Any]]]) or {}
    # earlier versions noted whole paths, which change where a study is moved
    for key, cells in noted.get("all", {}).items():
        noted["all"][key] = {
            _as_written(name, study): _as_written(value, study) if isinstance(value, str) else value
            for name, value in cells.items()
        }
    return noted


def _as_written(path: str, study: Study) -> str:
    """Return the path of a file in a study's folder as its STUDY.toml may have it; any other text as it is."""
    return path.removeprefix(f"{study.file.resolve().parent}/")


def _in_force(terms: _Terms, folder: Path) -> _Terms:
    """Return those of the noted terms on which a cell is finished, or has a checkpoint, or is being run."""
    begun = [cell for cell in cells_in(folder) if _binds(folder / cell.folder)]
    names = {"all": {"cells"} if begun else set(), "rules": {cell.rule for cell in begun}}
    names |= {part: {cell.data for cell in begun} for part in ("data", "images")}
    return {
        part: {key: values for key, values in keys.items() if key in names.get(part, ())}
        for part, keys in terms.items()
    }


def _binds(cell_folder: Path) -> bool:
    if has_begun(cell_folder):
        return True
    try:
        with folder_lock(cell_folder):
            return False
    except RunError:
        return True


def _with_missing(values: Mapping[str, Any], others: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [*values.items(), *((name, None) for name in others if name not in values)]


def _terms(study: Study) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what may not change, by part and name: what all cells share, each data set, each rule."""
    runtime = {name: value for name, value in study.groups["runtime"].items() if name in ("precision", "deterministic")}
    shared = {
        "recipe": _as_written(study.recipe, study),
        "init": None if study.init is None else _as_written(study.init, study),
        **{
            f"{_as_written(name, study)} with the SHA-256": sha256(Path(name))
            for name in (study.recipe, study.init or "")
            if name and Path(name).is_file()
        },
        "batch_size": study.batch_size,
        **flat({name: values for name, values in study.groups.items() if name != "runtime"}),
        **flat({"runtime": runtime}),
    }
    if (teacher := config_of(study, cells_of(study)[0]).recipe.teacher) is not None:  # of a recipe's file
        shared[_TEACHER] = teacher_identity(teacher)
    return {
        "all": {"cells": shared},
        "data": {each.name: {f"data {each.name} {k}": v for k, v in each.written.items()} for each in study.data},
        "rules": {each.name: _rule_terms(each) for each in study.rules},
    }


def _rule_terms(rule: Rule) -> dict[str, Any]:
    terms: dict[str, Any] = {f"rule {rule.name}": rule.written}
    if rule.source is not None and rule.source.is_file():
        terms[f"{rule.source.name} of rule {rule.name} with the SHA-256"] = sha256(rule.source)
    return terms
