"""The completion scripts in the shells themselves: a key completes commands, options, values and files."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from paa.commands.main import COMMANDS, main
from paa.recipes import RECIPES

START = {
    "bash": (["bash", "--noprofile", "--norc", "-i"], "bind 'set bell-style none'; source {script}"),
    "zsh": (["zsh", "-f", "-i"], "autoload -U compinit; compinit -u -D; unsetopt beep; source {script}"),
    "fish": (["fish", "--no-config", "-i"], "source {script}"),
}
STUB = {
    "bash": "paa() { printf '<%s>' \"$@\"; echo; }",
    "zsh": "paa() { printf '<%s>' \"$@\"; echo; }",
    "fish": "function paa; printf '<%s>' $argv; echo; end",
}
FAR_TOO_LONG = 60.0

Complete = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the script of each shell, as the command prints it."""
    folder = tmp_path_factory.mktemp("scripts")
    found = {}
    for shell in START:
        with pytest.MonkeyPatch.context() as patch, (folder / f"paa.{shell}").open("w") as file:
            patch.setattr("sys.stdout", file)
            main(["completion", shell])
        found[shell] = Path(file.name)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder in which the shells run: a checkpoint, a data set, and a name with a space."""
    (tmp_path / "run.pt").touch()
    (tmp_path / "shapes data").mkdir()
    (tmp_path / "shapes data" / "train.json").touch()
    return tmp_path


@pytest.mark.parametrize("shell", START)
@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("paa tra", ["train"]),
        ("paa data chec", ["data", "check"]),
        ("paa completion fi", ["completion", "fish"]),
        ("paa train --schedule.epo", ["train", "--schedule.epochs"]),
        ("paa data check run.pt --stri", ["data", "check", "run.pt", "--strict"]),
        ("paa eval run.pt --no-vot", ["eval", "run.pt", "--no-voting"]),
        ("paa train --schedule.optimizer ada", ["train", "--schedule.optimizer", "adamw"]),
        ("paa train --json --recipe r18", ["train", "--json", "--recipe", "r18_nano"]),
        ("paa train --init runs/a --recipe mod", ["train", "--init", "runs/a", "--recipe", "modern"]),
        ("paa predict mmdet/r50_ms", ["predict", "mmdet/r50_mstrain_3x"]),
        ("paa predict ru", ["predict", "run.pt"]),
        ("paa predict run.pt shapes\\ data/tr", ["predict", "run.pt", "shapes data/train.json"]),
        ("paa train --data shapes\\ data/tr", ["train", "--data", "shapes data/train.json"]),
        ("paa weights mmdet/r101_ms", ["weights", "mmdet/r101_mstrain_3x"]),
    ],
)  # fmt: skip
def test_a_key_completes(shell: str, typed: str, words: list[str], scripts: dict[str, Path], folder: Path) -> None:
    assert completed(shell, typed, scripts[shell], folder) == words


@pytest.mark.parametrize("shell", START)
def test_there_is_nothing_to_complete_for_a_number(shell: str, scripts: dict[str, Path], folder: Path) -> None:
    assert completed(shell, "paa train --batch-size ru", scripts[shell], folder) == ["train", "--batch-size", "ru"]


def test_bash_offers_every_option_and_recipe(scripts: dict[str, Path]) -> None:
    for name in COMMANDS:
        assert "--help" in offered(scripts["bash"], *name.split(), "--")
    assert set(offered(scripts["bash"], "train", "--recipe", "")) >= {"auto", *RECIPES}
    assert offered(scripts["bash"], "predict", "run.pt", "a.jpg", "--save", "images", "c") == ["coco", "csv"]
    assert offered(scripts["bash"], "predict", "--precision", "=", "bf") == ["bfloat16"]
    assert "--data" in offered(scripts["bash"], "train", "")  # nothing else fits
    assert "--precision" in offered(scripts["bash"], "predict", "run.pt", "--save", "images", "--")


def test_fish_describes_options(scripts: dict[str, Path]) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    lines = subprocess.run(
        ["fish", "--no-config", "-c", f"source {scripts['fish']}; complete -C 'paa eval a --anal'"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert lines == ["--analysis\tPrint intervals, AP by size, kinds of errors, confusions, calibration and ..."]


def test_bash_needs_no_other_program(scripts: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    monkeypatch.setenv("PATH", "/nowhere")
    assert offered(scripts["bash"], "predict", "run.pt", "--prec", bash=bash) == ["--precision"]


def offered(script: Path, *words: str, bash: str = "bash") -> list[str]:
    """Return what bash offers for the last of the words after `paa`."""
    code = f'source {script}; COMP_WORDS=(paa "$@"); COMP_CWORD=$#; _paa; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run([bash, "-c", code, "-", *words], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.splitlines()


def completed(shell: str, typed: str, script: Path, folder: Path) -> list[str]:
    """Return the words of a command line after the tabulator key, in a real terminal."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    command, start = START[shell]
    environment = {
        **os.environ,
        "TERM": "dumb" if shell != "fish" else "xterm",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
    }
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execvpe(command[0], command, environment)
    try:
        say(terminal, f"{STUB[shell]}\n{start.format(script=script)}\necho rea''dy\n", "ready\r")
        output = say(terminal, f"{typed}\t\n", ">\r")
    finally:
        os.close(terminal)
        os.waitpid(process, 0)
    return re.findall(r"<([^>]*)>", output)


def say(terminal: int, text: str, until: str) -> str:
    """Type, and return what the terminal shows until a text."""
    os.write(terminal, text.encode())
    shown, ends = "", time.monotonic() + FAR_TOO_LONG
    while until not in shown and time.monotonic() < ends:
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 1 << 16).decode(errors="replace")
    assert until in shown, shown
    return shown
