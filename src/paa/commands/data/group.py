"""The sub-commands of paa data, by their names."""

from __future__ import annotations

from typing import Any

from paa.commands.data.check import Check

DATA_COMMANDS: dict[str, Any] = {
    "data check": Check,
}

DataCommand = Check

DATA_USAGE = """usage: paa data COMMAND PATH [options]     (paa data COMMAND --help: its options)

  paa data check PATH                           every problem: damage, duplicates, leaks, classes, small objects"""
