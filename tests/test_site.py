"""The site of the documentation: built strictly, complete, and without errors or outside requests in a browser."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

import paa
from tests.browser import chromium, console_lines, requests

pytest.importorskip("sphinx", reason="the site needs sphinx (pip install 'paa[docs]')")

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PARTS = {"benchmarks-notes"}
"""Files that are parts of other pages."""


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build a site from a folder of pages with the settings of docs/conf.py, as `make docs` does."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-c", str(DOCS)]
    return subprocess.run([*command, str(source), str(out)], capture_output=True, text=True, timeout=300, cwd=ROOT)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site; a warning is a failure."""
    out = tmp_path_factory.mktemp("site")
    built = build(DOCS, out)
    assert built.returncode == 0, built.stderr
    return out


def pages() -> set[str]:
    """Return the names of all pages in docs/, without suffixes."""
    files = [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]
    return {path.relative_to(DOCS).with_suffix("").as_posix() for path in files} - PARTS


def test_every_page_is_on_the_site(site: Path) -> None:
    """That each is in a table of contents too is Sphinx's own check, a warning where one is not."""
    assert len(pages()) > 15
    assert {path for path in pages() if not (site / f"{path}.html").exists()} == set()


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    listed = {line.split()[0] for line in zlib.decompress(inventory).decode().splitlines() if " py:" in line}
    assert {f"paa.core.{name}" for name in paa.core.__all__} <= listed
    rooms = ("paa", "paa.core", "paa.errors")
    assert {name for name in paa.__all__ if not {f"{room}.{name}" for room in rooms} & listed} == set()


def test_what_is_broken_is_an_error(tmp_path: Path) -> None:
    """Links to pages and headings, pages that no table of contents has, unknown names, diagrams that are not drawn."""
    (tmp_path / "index.md").write_text(
        "# Index\n\n[a](nowhere.md) [b](#no-heading)\n\n```mermaid\nflowchart TD\n    never --> drawn\n```\n\n"
        "```{eval-rst}\n.. autofunction:: paa.no_such_name\n.. py:function:: f(x: NoSuchType)\n```\n"
    )
    (tmp_path / "alone.md").write_text("# Alone\n")
    built = build(tmp_path, tmp_path / "out")
    assert built.returncode != 0
    for wrong in ("nowhere.md", "no-heading", "alone.md", "make diagrams", "no_such_name", "NoSuchType"):
        assert wrong in built.stderr


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (390, True)])
def test_pages_open_without_errors_and_ask_nobody(site: Path, width: int, dark: bool) -> None:
    with chromium(width=width, dark=dark) as chrome:
        for page in sorted(pages() | {"genindex", "search"}):
            chrome.get((site / f"{page}.html").as_uri())
            assert console_lines(chrome) == [], page
            asked = requests(chrome)
            assert asked
            assert {url for url in asked if not url.startswith(site.as_uri())} == set(), page
            whole = "const page = document.documentElement; return page.scrollWidth <= page.clientWidth"
            assert chrome.execute_script(whole), f"{page} is wider than {width} pixels"
            paper = chrome.execute_script("return getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, paper.strip("rgb()").split(","))) < 300) == dark, paper


def test_the_search_finds_pages(site: Path) -> None:
    with chromium() as chrome:
        chrome.get((site / "search.html").as_uri() + "?q=tiles")
        found = "return document.querySelector('#search-results .search-summary, #search-results p')?.innerText || ''"
        deadline = time.monotonic() + 30
        while not re.search(r"found \d+ pages", text := chrome.execute_script(found)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert int(re.findall(r"found (\d+) pages", text)[0]) >= 3
        assert "paa.config" in chrome.execute_script("return document.body.innerText")
        assert console_lines(chrome) == []


def test_the_text_of_diagrams_fits(site: Path) -> None:
    with chromium() as chrome:
        chrome.get((site / "architecture.html").as_uri())
        nodes = """
            const nodes = [...document.querySelectorAll('.diagram .node')];
            const width = (node, part) => node.querySelector(part).getBoundingClientRect().width;
            return nodes.map(node => [width(node, 'rect'), width(node, 'text')]);
        """
        widths = chrome.execute_script(nodes)
    assert len(widths) > 40
    assert all(0 < text < box for box, text in widths)
