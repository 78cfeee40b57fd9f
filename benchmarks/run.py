"""Run the benchmarks one after the other, keep their lines in docs/, and write docs/benchmarks.md.

Every other script here that can be run is a benchmark. What they print goes into docs/benchmarks.jsonl (with --device
cuda: docs/benchmarks-cuda.jsonl): first a line that describes the machine, then, for each script, a line that tells how
it was run, and its own lines. --only runs some and keeps the others' lines. Other flags go to every script.

    python benchmarks/run.py [--only assignment loading] [--device cuda] [--threads 1]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import machine
import report

FOLDER = Path(__file__).parent


def scripts() -> list[str]:
    """Return the names of the benchmarks: what can be run, but for the two that gather them."""
    files = sorted(FOLDER.glob("*.py"))
    return [f.stem for f in files if f.stem not in ("run", "report") and '__name__ == "__main__"' in f.read_text()]


def run_script(name: str, flags: list[str]) -> list[dict[str, Any]] | None:
    """Run one benchmark, show its lines as they come, and return them behind the line about the run.

    None if it failed.
    """
    told = {
        "run": name,
        "command": " ".join([f"benchmarks/{name}.py", *flags]),
        "commit": machine.commit(),
        "date": datetime.date.today().isoformat(),
        "load": round(os.getloadavg()[0], 1),
    }
    start, lines = time.perf_counter(), []
    command = [sys.executable, str(FOLDER / f"{name}.py"), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for text in process.stdout or ():
            print(text, end="", flush=True)
            if text.startswith("{"):
                lines.append(json.loads(text))
    if process.returncode:
        return None
    return [told | {"took_s": round(time.perf_counter() - start)}, *lines]


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
    parser.add_argument("--only", nargs="+", choices=scripts(), help="run these and keep what is there of the others")
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
        new = run_script(name, flags)
        if new is None:
            failed.append(name)
            continue
        lines = replace(lines, name, new)
        report.write_lines(path, here, lines)
    report.write()
    if failed:
        sys.exit(f"error: failed, and left as they were: {', '.join(failed)}")


if __name__ == "__main__":
    main()
