"""The command line: parse, call, print. Nothing imports this file, but for `paa completion` when it runs.

Every command is a dataclass in a file of its own, whose fields are its options. It is parsed and run here, and an
error that the user's input caused is one line on stderr and exit code 2.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import tyro

from paa import __version__
from paa.commands.completion import Completion
from paa.commands.convert import Convert
from paa.commands.data.group import DATA_COMMANDS, DATA_USAGE, DataCommand
from paa.commands.demo import Demo
from paa.commands.eval import Eval
from paa.commands.explain import Explain
from paa.commands.export import Export
from paa.commands.help import HELP, HELP_ALL, show_help
from paa.commands.predict import Predict
from paa.commands.serve import Serve
from paa.commands.study import StudyCommand
from paa.commands.train import Train
from paa.commands.tune import Tune
from paa.commands.weights import ListWeights
from paa.errors import ConfigError, PaaError
from paa.recipes import AUTO, RECIPES, find_recipe
from paa.runtime.terminal import safe_output

COMMANDS: dict[str, Any] = {
    "train": Train,
    "tune": Tune,
    "study": StudyCommand,
    "eval": Eval,
    "explain": Explain,
    "predict": Predict,
    "convert": Convert,
    "export": Export,
    "serve": Serve,
    "weights": ListWeights,
    "demo": Demo,
    "completion": Completion,
    **DATA_COMMANDS,
}
"""Every command by its name; a name of two words is a sub-command."""

GROUPS = {"data": DATA_USAGE}
"""What is printed for the first word of sub-commands."""

Command = (
    Train
    | Tune
    | StudyCommand
    | Eval
    | Explain
    | Predict
    | Convert
    | Export
    | Serve
    | ListWeights
    | Demo
    | Completion
    | DataCommand
)

EXIT_CODES = {
    0: "done",
    1: "done, with findings (data check), images left out (predict), an exported model that differs (export), or runs "
    "that failed (study)",
    2: "an error of the input, or of the command line",
    3: "a fault of paa",
    75: "training was interrupted by a scheduler's signal or by --max-hours; --resume goes on (tune and study: "
    "the same command)",
    130: "interrupted by Ctrl-C",
}
"""What the exit code of every command means."""

USAGE = f"""paa {__version__}: Probabilistic Anchor Assignment with IoU Prediction

usage: paa COMMAND [options]     (paa COMMAND --help: the usual options, --help-all: every option)

  paa train --data PATH                         train on a COCO, Pascal VOC or YOLO data set
  paa tune --data PATH                          search for a better recipe, in trials
  paa study STUDY.toml                          compare assignment rules, all else being equal, over seeds
  paa eval CHECKPOINT_OR_RESULTS --data PATH    COCO's numbers, operating points, errors, a report
  paa explain CHECKPOINT_OR_RUN --data PATH     which anchors are positive for each object, and why, on a page
  paa predict CHECKPOINT IMAGES...              draw and write detections: files, folders, URLs, videos, camera:0
  paa convert CHECKPOINT OUT.safetensors        any implementation's checkpoint, as this project's model file
  paa export CHECKPOINT OUT.onnx                ONNX, OpenVINO or compiled, and the proof that it detects the same
  paa serve CHECKPOINT                          a page and an endpoint that detect in the images sent to them
  paa weights                                   list the pre-trained weights that have a name
  paa data check PATH                           every problem of a data set; paa data lists what else it does
  paa demo                                      train, evaluate and draw on drawn shapes, in minutes, on a CPU
  paa completion bash                           a script that completes the command line, for bash, zsh or fish

recipes: {", ".join(RECIPES)}

exit codes: {"; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())}"""


def parse(arguments: Sequence[str]) -> Command:
    """Return the command of a command line; ends the program with code 2, or 0 for help."""
    command = _command_of(arguments)
    rest = list(arguments[len(command.split()) :])
    kind, prog = COMMANDS[command], f"paa {command}"
    tyro._experimental_options["ansi_codes"] = _colored_help()
    default = None
    if kind is Train:
        rest = _fill_resume(rest)
    if issubclass(kind, Train):
        default = kind.of_recipe(_recipe_of(rest), _named(rest))
    for option, usual in ((HELP_ALL, None), *((option, kind.usual) for option in HELP)):
        if option in rest:
            show_help(kind, prog, usual, default)
    options: dict[str, Any] = {} if default is None else {"default": default}
    result: Command = tyro.cli(kind, args=rest, prog=prog, **options)
    return result


def _colored_help() -> bool:
    """Return whether tyro's help and errors may have escape codes; it looks at standard output alone for both."""
    return sys.stdout.isatty() and sys.stderr.isatty() and not os.environ.get("NO_COLOR")


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


def program() -> None:
    """Run the command line of this process.

    A fault of this project ends it with a traceback and exit code 3, one of a person's own rule with 2.
    """
    try:
        main()
    except Exception as error:
        traceback.print_exc()
        own = sys.modules.get("paa.assigners.own")  # where no rule was loaded, none can have failed
        if own is not None and (place := own.place_of_failure(error)) is not None:
            print(f"paa: error: the rule in {place} failed; the lines above say where", file=sys.stderr)
            sys.exit(2)
        print("paa: error: this is a fault of paa, not of your input; the lines above say where", file=sys.stderr)
        sys.exit(3)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line, and raise SystemExit with the code of `EXIT_CODES`, unless all is done.

    If the reader of the output ends early, as in `paa eval ... | head -1`, the command is finished nevertheless.
    """
    with safe_output():
        _run(list(sys.argv[1:] if arguments is None else arguments))


def _run(given: list[str]) -> None:
    if not given or given[0] in (*HELP, HELP_ALL, "help"):
        _show_usage(USAGE, asked=bool(given))
    if given[0] == "--version":
        print(__version__)
        sys.exit(0)
    if given[0] in GROUPS and (not given[1:] or given[1] in (*HELP, HELP_ALL, "help")):
        _show_usage(GROUPS[given[0]], asked=bool(given[1:]))
    if (name := _command_of(given)) not in COMMANDS:
        print(f"paa: error: unknown command {name!r}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    log = logging.getLogger("paa")  # this project's logger alone: other libraries show their own logs
    log.setLevel(logging.INFO)
    log.handlers[:] = [handler := logging.StreamHandler()]
    handler.setFormatter(logging.Formatter("paa: %(message)s"))
    try:
        _check_not_empty(given)
        command = parse(given)
        if isinstance(command, Completion):  # the one command that has to know the others
            sys.stdout.write(command.script(COMMANDS, GROUPS))
            return
        from paa.report.console import make_console

        command.run(make_console())
    except (PaaError, OSError) as error:  # OSError: a full disk, a folder that cannot be written to
        print(f"paa: error: {_message(error)}", file=sys.stderr)
        sys.exit(2)
    except ValueError as error:
        from paa.core.assignment import AssignmentError

        if not isinstance(error, AssignmentError):
            raise
        print(f"paa: error: {error}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        from paa.data.workers import worker_error
        from paa.runtime.out_of_memory import is_out_of_memory

        if (named := worker_error(error)) is not None:  # torch raises this wherever the main process is just then
            print(f"paa: error: {named}", file=sys.stderr)
            sys.exit(2)
        if not is_out_of_memory(error):
            raise
        print(f"paa: error: {str(error).splitlines()[0]}; a smaller batch or smaller images may help", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("paa: interrupted; what was written is whole", file=sys.stderr)
        sys.exit(130)


def _show_usage(text: str, asked: bool) -> None:
    """Print a usage and end the program: with code 0 where it was asked for, else on standard error with code 2."""
    print(text, file=sys.stdout if asked else sys.stderr)
    sys.exit(0 if asked else 2)


def _check_not_empty(given: list[str]) -> None:
    """Raise ConfigError for an empty argument, which as a path would mean the current folder."""
    for before, argument in zip(["", *given], given):
        option, equals, value = argument.partition("=")
        if not argument or (argument.startswith("--") and equals and not value):
            where = f"after {before}" if not argument else f"of {option}"
            raise ConfigError(f"the argument {where} is empty; a variable of the shell may not be set")


def _message(error: Exception) -> str:
    """Return an error's message; for one of the system the file and the cause."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)
