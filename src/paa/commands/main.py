"""The command line: parse, call, print. Nothing imports this file.

Every command is a dataclass in a file of its own, whose fields are its options. It is parsed and run here, and an
error that the user's input caused is one line on stderr and exit code 2.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from paa import __version__
from paa.commands.convert import Convert
from paa.commands.data.group import DATA_COMMANDS, DATA_USAGE, DataCommand
from paa.commands.demo import Demo
from paa.commands.eval import Eval
from paa.commands.export import Export
from paa.commands.help import HELP, HELP_ALL, show_help
from paa.commands.predict import Predict
from paa.commands.train import Train
from paa.commands.weights import ListWeights
from paa.errors import PaaError
from paa.recipes import AUTO, RECIPES, find_recipe
from paa.runtime.terminal import safe_output

COMMANDS: dict[str, Any] = {
    "train": Train,
    "eval": Eval,
    "predict": Predict,
    "convert": Convert,
    "export": Export,
    "weights": ListWeights,
    "demo": Demo,
    **DATA_COMMANDS,
}
"""Every command by its name; a name of two words is a sub-command."""

GROUPS = {"data": DATA_USAGE}
"""What is printed for the first word of sub-commands."""

Command = Train | Eval | Predict | Convert | Export | ListWeights | Demo | DataCommand

USAGE = f"""paa {__version__}: Probabilistic Anchor Assignment with IoU Prediction

usage: paa COMMAND [options]     (paa COMMAND --help: the usual options, --help-all: every option)

  paa train --data PATH                         train on a COCO, Pascal VOC or YOLO data set
  paa eval CHECKPOINT_OR_RESULTS --data PATH    COCO's numbers, operating points, errors, a report
  paa predict CHECKPOINT IMAGES...              draw and write detections: files, folders, patterns, - for a list
  paa convert CHECKPOINT OUT.safetensors        any implementation's checkpoint, as this project's model file
  paa export CHECKPOINT OUT.onnx                ONNX, OpenVINO or compiled, and the proof that it detects the same
  paa weights                                   list the pre-trained weights that have a name
  paa data check PATH                           every problem of a data set; paa data lists what else it does
  paa demo                                      train, evaluate and draw on drawn shapes, in minutes, on a CPU

recipes: {", ".join(RECIPES)}"""


def parse(arguments: Sequence[str]) -> Command:
    """Return the command of a command line; ends the program with code 2, or 0 for help."""
    command = _command_of(arguments)
    rest = list(arguments[len(command.split()) :])
    kind, prog = COMMANDS[command], f"paa {command}"
    default = None
    if kind is Train:
        rest = _fill_resume(rest)
        default = Train.of_recipe(_recipe_of(rest), _named(rest))
    for option, usual in ((HELP_ALL, None), *((option, kind.usual) for option in HELP)):
        if option in rest:
            show_help(kind, prog, usual, default)
    options: dict[str, Any] = {} if default is None else {"default": default}
    result: Command = tyro.cli(kind, args=rest, prog=prog, **options)
    return result


def _command_of(arguments: Sequence[str]) -> str:
    """Return the name of the command that a command line begins with, of one word or, in a group, of two."""
    return " ".join(arguments[: 2 if arguments[0] in GROUPS else 1])


def _recipe_of(arguments: list[str]) -> str:
    """Return the recipe named on the command line, whose values are the defaults of the other options."""
    name = AUTO
    for i, argument in enumerate(arguments):
        if argument == "--recipe" and i + 1 < len(arguments):
            name = arguments[i + 1]
        elif argument.startswith("--recipe="):
            name = argument.split("=", 1)[1]
    find_recipe(name)
    return name


def _named(arguments: list[str]) -> tuple[str, ...]:
    """Return the fields that options name, also as --model.norm-eps, --model.no-bgr, --no_voting, --model.bgr=False."""
    names = [argument.split("=", 1)[0].removeprefix("--") for argument in arguments if argument.startswith("--")]
    parts = [name.replace("-", "_").rpartition(".") for name in names]  # the parser takes - and _
    return tuple(f"{group}{dot}{field.removeprefix('no_')}" for group, dot, field in parts)


def _fill_resume(arguments: list[str]) -> list[str]:
    """Let `--resume` stand alone: without a file it means the run's last checkpoint."""
    filled = []
    for i, argument in enumerate(arguments):
        filled.append(argument)
        if argument == "--resume" and (i + 1 == len(arguments) or arguments[i + 1].startswith("--")):
            filled.append("last")
    return filled


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line; exit code 0, 1 where `paa predict` left images out, 2 for an error that the input caused,
    130 when interrupted.

    If the reader of the output ends early, as in `paa eval ... | head -1`, the command is finished nevertheless.
    """
    with safe_output():
        _run(list(sys.argv[1:] if arguments is None else arguments))


def _run(given: list[str]) -> None:
    if not given or given[0] in (*HELP, HELP_ALL, "help"):
        print(USAGE)
        sys.exit(0 if given else 2)
    if given[0] == "--version":
        print(__version__)
        sys.exit(0)
    if given[0] in GROUPS and (not given[1:] or given[1] in (*HELP, HELP_ALL, "help")):
        print(GROUPS[given[0]])
        sys.exit(0 if given[1:] else 2)
    if (name := _command_of(given)) not in COMMANDS:
        print(f"paa: error: unknown command {name!r}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    log = logging.getLogger("paa")  # this project's logger alone: other libraries show their own logs
    log.setLevel(logging.INFO)
    log.handlers[:] = [handler := logging.StreamHandler()]
    handler.setFormatter(logging.Formatter("paa: %(message)s"))
    try:
        command = parse(given)
        from rich.console import Console

        command.run(Console(soft_wrap=True))
    except (PaaError, OSError) as error:  # OSError: a full disk, a folder that cannot be written to
        print(f"paa: error: {error}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        from paa.data.workers import worker_error

        if (named := worker_error(error)) is not None:  # torch raises this wherever the main process is just then
            print(f"paa: error: {named}", file=sys.stderr)
            sys.exit(2)
        if not re.search("out of memory|allocate memory", str(error), re.IGNORECASE):
            raise
        print(f"paa: error: {str(error).splitlines()[0]}; a smaller batch or smaller images may help", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("paa: interrupted; what was written is whole", file=sys.stderr)
        sys.exit(130)
