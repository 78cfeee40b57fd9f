"""On which terms the cells in a study's folder are run: a changed STUDY.toml may add cells, but not mix terms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paa.config import flat
from paa.errors import ConfigError
from paa.runtime.files import sha256, write_text
from paa.runtime.folder_lock import folder_lock
from paa.study.file import Rule, Study
from paa.study.json_file import read_json

_FILE = "terms.json"
_PATIENCE = 30.0
"""Seconds for which another process of the same study may hold the file."""


def claim_terms(study: Study, folder: Path) -> None:
    """Note the terms of a study in its folder; ConfigError where cells of the same names were run on others."""
    path = folder / _FILE
    with folder_lock(folder, _PATIENCE):
        before = read_json(path, dict[str, dict[str, dict[str, Any]]]) or {}
        now = json.loads(json.dumps(_terms(study)))
        changed = [
            f"{name} {value!r}, not {now[part][key].get(name)!r}"
            for part in now
            for key, values in before.get(part, {}).items()
            if key in now[part]
            for name, value in _with_missing(values, now[part][key])
            if value != now[part][key].get(name)
        ]
        if changed:
            raise ConfigError(
                f"{study.file}: {folder} has cells that were run with {'; '.join(changed)}: give another --output, or "
                "another name to a rule or data set that has changed"
            )
        together = {part: {**before.get(part, {}), **now[part]} for part in now}
        if together != before:
            write_text(path, json.dumps(together, indent=2) + "\n")


def _with_missing(values: Mapping[str, Any], others: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [*values.items(), *((name, None) for name in others if name not in values)]


def _terms(study: Study) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what may not change, by part and name: what all cells share, each data set, each rule."""
    runtime = {name: value for name, value in study.groups["runtime"].items() if name in ("precision", "deterministic")}
    shared = {
        "recipe": study.recipe,
        "init": study.init,
        **{
            f"{name} with the SHA-256": sha256(Path(name))
            for name in (study.recipe, study.init or "")
            if name and Path(name).is_file()
        },
        "batch_size": study.batch_size,
        **flat({name: values for name, values in study.groups.items() if name != "runtime"}),
        **flat({"runtime": runtime}),
    }
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
