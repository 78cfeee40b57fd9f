"""The sub-commands of paa data, by their names."""

from __future__ import annotations

from typing import Any

from paa.commands.data.check import Check
from paa.commands.data.convert import ConvertData
from paa.commands.data.split import SplitData
from paa.commands.data.stats import Stats
from paa.commands.data.view import View

DATA_COMMANDS: dict[str, Any] = {
    "data check": Check,
    "data convert": ConvertData,
    "data split": SplitData,
    "data stats": Stats,
    "data view": View,
}

DataCommand = Check | ConvertData | SplitData | Stats | View

DATA_USAGE = """usage: paa data COMMAND PATH [options]     (paa data COMMAND --help: its options)

  paa data check PATH                           every problem: damage, duplicates, leaks, classes, small objects
  paa data convert PATH OUT --to FORMAT         as COCO, YOLO or Pascal VOC, in a new folder
  paa data split PATH OUT                       train, val and test by shares, with scenes kept together
  paa data stats PATH                           numbers of images and objects, sizes, shapes; plots
  paa data view PATH                            sheets of images with their boxes, by class, size or name"""
