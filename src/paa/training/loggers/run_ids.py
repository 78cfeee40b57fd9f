"""The ids of a run at other tools, kept in its folder so that a resumed run goes on in the same one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paa.runtime.files import write_text

FILE = "loggers.json"


def known_id(folder: Path, logger: str) -> str | None:
    """Return the id under which a logger knows the run in a folder; None if it does not know it yet."""
    value = _read(folder).get(logger)
    return value if isinstance(value, str) else None


def keep_id(folder: Path, logger: str, run_id: str) -> None:
    """Write down the id under which a logger knows the run."""
    write_text(folder / FILE, json.dumps({**_read(folder), logger: run_id}, indent=2) + "\n")


def _read(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
