"""Run the benchmarks one after the other, keep their lines in docs/, and write docs/benchmarks.md.

Every other script here that can be run is a benchmark, but for those that train for hours and the one that draws their
curves (`_NOT_RUN`). What they print goes into docs/benchmarks.jsonl (with --device cuda: docs/benchmarks-cuda.jsonl):
first a line that describes the machine, then, for each script, a line that says how it was run, and its own lines.
--only runs some and keeps the others' lines. Other flags go to every script. A script that fails is named in one line,
and its stderr is kept in build/benchmarks/.

    python benchmarks/run.py [--only assignment loading] [--device cuda] [--threads 1]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import machine
import report

FOLDER = Path(__file__).parent
LOGS = FOLDER.parent / "build" / "benchmarks"

_NOT_RUN = (
    *(
        "run",
        "report",
        "accuracy",
        "accuracy_report",
        "assignment_report",
        "distillation",
        "elsewhere",
        "study",
        "tiles",
    ),
    "training_curves",
)
"""The scripts that are no benchmarks of speed: these two, and those that train for hours, each by its own command."""

_ERROR = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b.*")


def scripts() -> list[str]:
    """Return the names of the benchmarks: the scripts that can be run, but for `_NOT_RUN`."""
    files = sorted(FOLDER.glob("*.py"))
    return [f.stem for f in files if f.stem not in _NOT_RUN and '__name__ == "__main__"' in f.read_text()]


class BenchmarkError(Exception):
    """A benchmark failed; the text is one line that says how, and where its stderr is kept."""


def run_script(name: str, flags: list[str]) -> list[dict[str, Any]]:
    """Run one benchmark, show its lines as they come, and return them behind the line about the run.

    Raises BenchmarkError if it ends with an error; its stderr is kept then.
    """
    about = {
        "run": name,
        "command": " ".join([f"benchmarks/{name}.py", *flags]),
        "commit": machine.commit(),
        "date": datetime.date.today().isoformat(),
        "load": round(os.getloadavg()[0], 1),
    }
    start, lines = time.perf_counter(), []
    command = [sys.executable, str(FOLDER / f"{name}.py"), *flags]
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name}.log"
    with (
        log.open("wb") as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):
        for text in process.stdout or ():
            print(text, end="", flush=True)
            if text.startswith("{"):
                lines.append(json.loads(text))
    if process.returncode:
        raise BenchmarkError(
            f"{name}: {how_it_failed(log.read_text(errors='replace'), process.returncode)}; all of it: {log}"
        )
    log.unlink()
    return [about | {"took_s": round(time.perf_counter() - start)}, *lines]


def how_it_failed(said: str, code: int) -> str:
    """Return the line of a script's stderr that says best why it failed: the last that names an error.

    torch.compile puts thousands of lines after it. code: the script's exit code, below 0 the signal that ended it.
    """
    lines = [line.rstrip() for line in said.splitlines() if line.strip()]
    if code < 0 or not lines:
        return f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    errors = [line for line in lines if _ERROR.fullmatch(line)]
    line = (errors or lines)[-1].strip()
    return line if len(line) <= 160 else f"{line[:157]}..."


def replace(kept: list[dict[str, Any]], name: str, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines of a file, without the machine's, with one script's lines in place of its earlier ones."""
    others: dict[str, list[dict[str, Any]]] = {}
    for line in kept:
        if "run" in line:
            owner = line["run"]
        others.setdefault(owner, []).append(line)
    others[name] = lines
    return [line for owner in sorted(others) for line in others[owner]]


def main() -> None:
    """Run the benchmarks, replace their lines, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=scripts(), help="run these and keep the others' lines")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments, flags = parser.parse_known_args()
    if arguments.device != "cpu":
        flags = ["--device", arguments.device, *flags]
    path = report.CPU_FILE if arguments.device == "cpu" else report.GPU_FILE
    here = machine.describe(arguments.device)
    before = report.read(path)
    lines = before.lines if before and before.machine == here else []
    if arguments.only and before and before.machine != here:
        was = before.machine
        differences = ", ".join(
            f"{k} {was.get(k)}, here {here.get(k)}" for k in here | was if was.get(k) != here.get(k)
        )
        sys.exit(f"error: {path.name} was measured on another machine ({differences}); run all benchmarks here")
    failed = []
    for name in arguments.only or scripts():
        print(f"== {name}", file=sys.stderr, flush=True)
        try:
            new = run_script(name, flags)
        except BenchmarkError as failure:
            print(f"error: {failure}", file=sys.stderr, flush=True)
            failed.append(name)
            continue
        lines = replace(lines, name, new)
        report.write_lines(path, here, lines)
    report.write()
    if failed:
        sys.exit(f"error: failed, and left as they were: {', '.join(failed)}")


if __name__ == "__main__":
    main()
