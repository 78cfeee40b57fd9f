"""Every command and every snippet in README.md and docs/ runs, in the order of the page, on a tiny demo."""

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from paa.commands import run_demo as demo
from paa.commands.main import main
from paa.runtime.distributed import start

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUICK = ["--schedule.steps", "2", "--val-num", "4", "--batch-size", "2", "--workers", "0", "--device", "cpu"]
LOCAL = (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", socket.gethostname())
BY_HAND = ("make ", "pip install ")  # make test runs this file; make demo is measured by hand


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the (language, text) of a page's code blocks that are run."""
    return re.findall(r"^```(bash|python)\n(.*?)^```", page.read_text(), flags=re.M | re.S)


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a demo has run, much smaller than the real one."""
    folder = tmp_path_factory.mktemp("docs")
    with start("cpu") as process:
        demo.run_demo(folder / "demo", process, lambda record: None, images=20, steps=2)
    return folder


@pytest.fixture
def nobody_asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail where a page looks up the name of another machine: docs/privacy.md says that nothing is fetched unasked."""
    asked, look_up = [], socket.getaddrinfo

    def note(host, *arguments, **options):
        if host not in LOCAL:
            asked.append(host)
            raise OSError("this test has no network")
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", note)
    yield
    assert asked == []


def run_command(command: str) -> None:
    """Run one command line of the documentation, shortened where it trains."""
    words = shlex.split(command)
    shorter = QUICK if "train" in words else []
    if "--schedule.epochs" in words:  # which contradicts a number of steps
        words[words.index("--schedule.epochs") + 1] = "0.2"
        shorter = QUICK[2:]
    if words[0] == "torchrun":
        inside = words[words.index("-m") :]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", *words[1 : words.index("-m")]]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([*launcher, *inside, *shorter], check=True, env=environment, timeout=300)
        return
    assert words[0] == "paa", f"a command that this test cannot run: {command}"
    main([*words[1:], *shorter])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page, small_demo, nobody_asked, monkeypatch):
    monkeypatch.chdir(small_demo)
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, str(page), "exec"), {})
            continue
        for line in text.replace("\\\n", " ").splitlines():
            command = line.split("  #")[0].strip()
            if command and not command.startswith(BY_HAND):
                run_command(command)
    assert blocks(page) or page.name != "README.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_rooms_and_files_named_in_the_architecture_exist():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    rooms = [re.findall(r"`([\w/]+(?:/|\.py))`", room) for room, _ in rows]
    assert len(rooms) >= 10
    for (room,), (_, text) in zip(rooms, rows):
        assert (ROOT / "src" / "paa" / room).exists(), room
        for name in re.findall(r"`([\w/]+(?:/|\.py))`", text):
            assert (ROOT / "src" / "paa" / room / name).exists(), f"{room}{name}"
