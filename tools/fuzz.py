"""Coverage-guided fuzzing of everything that reads a file or a request, by atheris (libFuzzer).

    python tools/fuzz.py --reader coco --runs 1000000 [--seed 0] [--seconds 3600] [--output build/fuzz]

Readers: coco, voc, yolo, yaml, image, checkpoint, description (of an exported model), onnx, cache, results, request;
`fuzz_readers.py` says what each does, and what is wrong. `--reader all` tries one after the other.

Each kind of wrong behaviour is kept once, as the input and a traceback, in OUTPUT/READER/wrong, and the fuzzing goes
on; an input that kills the process, takes too long or too much memory ends it, and is kept there too. The inputs that
reach new code are kept in OUTPUT/READER/corpus, from which a later run continues. At the end, one line of JSON:
executions, in a second, seconds of computing, edges of code reached, kinds of wrong behaviour. Exit code 1 if there are
any.

`make fuzz` installs atheris, which no other target needs; it has builds for Python 3.11 to 3.13 on Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

TIMEOUT = 60  # seconds for one input, after which the process is killed
MEMORY = 3000  # megabytes of the whole process, a third of which are PyTorch
_NAMES = ["coco", "voc", "yolo", "yaml", "image", "checkpoint", "description", "onnx", "cache", "results", "request"]
_IN_MEMORY = Path("/dev/shm")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--reader", choices=[*_NAMES, "all"], required=True)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=0, help="at most this long for each reader; 0: no limit")
    parser.add_argument("--output", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)  # for the process that fuzzes
    given = parser.parse_args()
    if given.scratch is not None:
        fuzz(given.reader, given.runs, given.seed, given.seconds, given.output, given.scratch)
        return
    names = _NAMES if given.reader == "all" else [given.reader]
    results = [run(name, given.runs, given.seed, given.seconds, given.output / name) for name in names]
    sys.exit(any(result["wrong"] for result in results))


def run(name: str, runs: int, seed: int, seconds: int, folder: Path) -> dict[str, Any]:
    """Fuzz a reader in a process of its own, and print what came of it."""
    (folder / "wrong").mkdir(parents=True, exist_ok=True)
    (folder / "corpus").mkdir(exist_ok=True)
    options = ["--reader", name, "--runs", str(runs), "--seed", str(seed), "--seconds", str(seconds)]
    command = [sys.executable, __file__, *options, "--output", str(folder)]
    start, used = time.monotonic(), _seconds_of_children()
    memory = _IN_MEMORY if _IN_MEMORY.is_dir() else None
    with (folder / "log.txt").open("w") as log, tempfile.TemporaryDirectory(prefix="paa-fuzz-", dir=memory) as scratch:
        command += ["--scratch", scratch]
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    took = time.monotonic() - start
    said = (folder / "log.txt").read_text(errors="replace")
    done = [int(number) for number in re.findall(r"^#(\d+)\s", said, flags=re.M)]
    edges = [int(number) for number in re.findall(r"\bcov: (\d+)", said)]
    executions = max(done, default=0)
    result = {
        "reader": name,
        "executions": executions,
        "per_second": round(executions / took),
        "seconds": round(took),
        "cpu_seconds": round(_seconds_of_children() - used),
        "edges": max(edges, default=0),
        "corpus": len(list((folder / "corpus").iterdir())),
        "wrong": sorted(path.name for path in (folder / "wrong").iterdir() if path.suffix != ".txt"),
        "ended": code,
    }
    print(json.dumps(result), flush=True)
    if code:
        print("\n".join(said.splitlines()[-20:]), file=sys.stderr)
    return result


def _seconds_of_children() -> float:
    """Return the seconds of computing of all processes that this one started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def fuzz(name: str, runs: int, seed: int, seconds: int, folder: Path, scratch: Path) -> None:
    """Fuzz a reader in this process, which ends with it. scratch: an empty folder for the files that are read."""
    import atheris

    with atheris.instrument_imports(include=["paa", "PIL"]):
        import fuzz_readers
    reader = fuzz_readers.READERS[name]
    for i, content in enumerate(reader.seeds()):
        (folder / "corpus" / f"seed-{i:03d}").write_bytes(content)
    wrong = folder / "wrong"
    trial = fuzz_readers.Trial(reader, scratch)

    def read(data: bytes) -> None:
        try:
            trial(data)
        except Exception as error:
            _keep(wrong, data, error)

    def mutate(data: bytes, longest: int, number: int) -> bytes:
        rng = random.Random(number)
        if rng.random() < 0.2:
            return bytes(atheris.Mutate(data, longest))
        return reader.mutate(data, rng)[:longest]

    flags = [f"-runs={runs}", f"-seed={seed + 1}", f"-max_len={reader.longest}", f"-timeout={TIMEOUT}"]
    flags += [f"-rss_limit_mb={MEMORY}", f"-artifact_prefix={wrong}/", "-len_control=0", "-print_final_stats=1"]
    flags += [f"-max_total_time={seconds}"] if seconds else []
    atheris.Setup([sys.argv[0], *flags, str(folder / "corpus")], read, custom_mutator=mutate)
    atheris.Fuzz()


def _keep(folder: Path, data: bytes, error: Exception) -> None:
    """Keep the first input of each kind of wrong behaviour: the same error at the same line of the project."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if f"{os.sep}paa{os.sep}" in frame.filename]
    place = f"{Path(frames[-1].filename).stem}-{frames[-1].lineno}" if frames else "reader"
    kind = re.sub(r"\W+", "-", getattr(error, "kind", f"{type(error).__name__}-{place}"))
    if not (folder / kind).exists():
        (folder / kind).write_bytes(data)
        (folder / f"{kind}.txt").write_text("".join(traceback.format_exception(error)), errors="backslashreplace")


if __name__ == "__main__":
    main()
