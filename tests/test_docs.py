"""Every command and every snippet in README.md and docs/ runs, in the order of the page, on a tiny demo."""

import contextlib
import copy
import io
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from paa.commands import run_demo as demo
from paa.commands.main import main
from paa.data.images.read import read_image
from paa.export import onnx_model
from paa.runtime.distributed import start
from tests.other_files import write_other_files
from tests.serve.servers import served
from tests.videos import write_video

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
QUICK = ["--schedule.steps", "2", "--val-num", "4", "--batch-size", "2", "--workers", "0", "--device", "cpu"]
COMING_FROM = [page for page in PAGES if page.name.startswith("coming-from-")]  # they use other programs' files
SERVER = "http://localhost:8000"
LOCAL = (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", socket.gethostname())
BY_HAND = ("make ", "pip install ")  # make test runs this file; make demo is measured by hand


def name_of(page: Path) -> str:
    """Return a page's path inside the project, or inside docs/."""
    return page.relative_to(ROOT).as_posix().removeprefix("docs/")


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the (language, text) of a page's code blocks that are run, or are files of what is run."""
    return re.findall(r"^```(bash|python|toml)\n(.*?)^```", page.read_text(), flags=re.M | re.S)


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a demo has run, much smaller than the real one, with a video of one of its images."""
    folder = tmp_path_factory.mktemp("docs")
    with start("cpu") as process:
        demo.run_demo(folder / "demo", process, lambda record: None, images=20, steps=2)
    image = read_image(folder / "demo" / "shapes" / "images" / "000001.jpg")
    image = image[: len(image) // 2 * 2, : image.shape[1] // 2 * 2]  # H.264 has even sides
    write_video(folder / "clip.mp4", [np.roll(image, 4 * i, axis=1) for i in range(12)])
    return folder


@pytest.fixture(scope="module")
def other_files(small_demo: Path) -> Path:
    """The same folder, with files that other implementations leave."""
    write_other_files(small_demo, small_demo / "demo" / "shapes" / "val.json")
    return small_demo


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


@pytest.fixture
def _traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace a model as ONNX once for all exports of a page, which takes half a minute each time."""
    traced: dict[object, object] = {}
    real = onnx_model._to_onnx

    def to_onnx(detector, description):
        weights = sum(tensor.double().sum().item() for tensor in detector.state_dict().values())
        key = detector.config, description.settings, weights
        if key not in traced:
            traced[key] = real(detector, description)
        return copy.deepcopy(traced[key])

    monkeypatch.setattr(onnx_model, "_to_onnx", to_onnx)


def run_command(command: str) -> None:
    """Run one command line of the documentation, shortened where it trains."""
    words = shlex.split(command)
    asked = words[words.index("paa") + 1] if "paa" in words else ""
    shorter = QUICK if asked in ("train", "tune") else []
    if "--engine" in words:
        shorter = ["--engine.workers", "1"]
    if "--trials" in words:
        words[words.index("--trials") + 1] = "2"
    if "--schedule.epochs" in words:  # which contradicts a number of steps
        words[words.index("--schedule.epochs") + 1] = "0.2"
        shorter = QUICK[2:]
    if words[0] == "torchrun":
        inside = words[words.index("-m") :]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", *words[1 : words.index("-m")]]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([*launcher, *inside, *shorter], check=True, env=environment, timeout=300)
        return
    if words[0] == "curl":
        subprocess.run(["curl", "--fail", "--silent", "--show-error", *words[1:]], check=True, timeout=300)
        return
    assert words[0] == "paa", f"a command that this test cannot run: {command}"
    main([*words[1:], *shorter])


@pytest.mark.usefixtures("_traced_once")
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page(page, request, nobody_asked, monkeypatch):
    monkeypatch.chdir(request.getfixturevalue("other_files" if page in COMING_FROM else "small_demo"))
    with ExitStack() as servers:
        run_blocks(page, servers)
    shutil.rmtree("runs", ignore_errors=True)
    assert blocks(page) or page not in [PAGES[0], *COMING_FROM]


def run_blocks(page: Path, servers: ExitStack) -> None:
    """Run a page's blocks; one that begins with the name of a file is that file, a study's for one short run.

    A server that is started in the background is asked at its own port until the page ends. The folders of runs that
    the rest of the page does not name are removed: all together would have gigabytes.
    """
    address = SERVER
    of_page = blocks(page)
    for i, (language, text) in enumerate(of_page):
        rest = "\n".join(later for _, later in of_page[i:])
        for folder in Path("runs").glob("*"):
            if f"runs/{folder.name}" not in rest:
                shutil.rmtree(folder)
        if file := re.match(r"# (\w+\.(?:py|toml))\n", text):
            short = re.sub(r"^(epochs|seeds) = .*", r"\1 = [1]", text, flags=re.M)
            Path(file[1]).write_text(re.sub(r"^workers = .*", "workers = 0", short, flags=re.M))
        if language == "toml":
            continue
        if language == "python":
            exec(compile(text.replace(SERVER, address), str(page), "exec"), {})
            continue
        for line in text.replace("\\\n", " ").splitlines():
            command = line.split("  #")[0].strip()
            if command.startswith("paa serve ") and command.endswith("&"):
                checkpoint, *options = shlex.split(command.removesuffix("&"))[2:]
                address = servers.enter_context(served(Path(checkpoint), *options)).address
            elif command and not command.startswith(BY_HAND):
                run_command(command.replace(SERVER, address))


@pytest.fixture(scope="module")
def options() -> set[str]:
    """Every option of the commands that the tables of the pages name, and torchrun's."""
    known = {"--nproc-per-node"}
    for command in ("train", "eval", "predict", "convert", "data view"):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
            main([*command.split(), "--help-all"])
        known.update(re.findall(r"--[a-z][\w.-]*", printed.getvalue()))
    return known


@pytest.mark.parametrize("page", COMING_FROM, ids=name_of)
def test_options_in_the_tables_exist(page, options):
    rows = [line.split("|") for line in page.read_text().splitlines() if line.startswith("| `")]
    named = {option for row in rows for option in re.findall(r"--[a-z][\w.-]*", row[2])}
    assert len(named) > 10
    assert named <= options


@pytest.mark.parametrize("page", PAGES, ids=name_of)
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
