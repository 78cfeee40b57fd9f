"""Draw the mermaid diagrams of the documentation as SVG files, which the site shows: `make diagrams`.

A code host draws the diagrams of a Markdown page by itself. The site does not, since mermaid is a script of three
megabytes that its pages would have to load: they show docs/images/diagrams/NAME.svg, where NAME comes from the text of
the diagram, so that the drawing of a diagram that has changed is missing, and building the site says so. The colours
are the site's (docs/_static/site.css), light and dark.

Needs npm, which fetches mermaid once, and chromium with chromedriver.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

MERMAID = "mermaid@11.17.2"
DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "images" / "diagrams"
SETTINGS = """{
    startOnLoad: false, theme: 'base', htmlLabels: false, deterministicIds: true, fontFamily: 'sans-serif',
    flowchart: {htmlLabels: false, useMaxWidth: true, nodeSpacing: 28, rankSpacing: 36, padding: 10},
}"""
DRAW = """
    const [id, source, done] = arguments;
    mermaid.render(id, source).then(drawn => done(drawn.svg)).catch(error => done('error: ' + error));
"""


def diagrams(page: Path) -> list[str]:
    """Return the text of each mermaid diagram in a Markdown page."""
    return re.findall(r"^```mermaid\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def drawing(source: str) -> Path:
    """Return the file for the drawing of a diagram."""
    return FOLDER / f"{hashlib.sha256(source.strip().encode()).hexdigest()[:12]}.svg"


def main() -> None:
    """Draw what is not drawn yet, and remove the drawings that no page has any more."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--again", action="store_true", help="draw all of them anew")
    again = parser.parse_args().again
    sources = {drawing(source): source for page in sorted(DOCS.rglob("*.md")) for source in diagrams(page)}
    wanted = {path: source for path, source in sources.items() if again or not path.exists()}
    FOLDER.mkdir(exist_ok=True)
    for path in set(FOLDER.glob("*.svg")) - sources.keys():
        path.unlink()
        print(f"removed {path.name}")
    if wanted:
        draw(wanted)


def draw(sources: dict[Path, str]) -> None:
    """Write the drawing of each diagram."""
    if missing := [name for name in ("npm", "chromium", "chromedriver") if shutil.which(name) is None]:
        sys.exit(f"error: drawing diagrams needs {' and '.join(missing)} (Debian: npm, chromium, chromium-driver)")
    with tempfile.TemporaryDirectory() as folder:
        chrome = browser(fetch_mermaid(Path(folder)))
        try:
            for path, source in sources.items():
                svg = chrome.execute_async_script(DRAW, f"d{path.stem}", source)
                if svg.startswith("error"):
                    sys.exit(f"{svg}\n{source}")
                path.write_text(plain(svg) + "\n", encoding="utf-8")
                print(f"drew {path.name}: {source.split(chr(10), 2)[1].strip()} ...")
        finally:
            chrome.quit()


def fetch_mermaid(folder: Path) -> Path:
    """Return an empty page in this folder that loads mermaid's script, as npm has it."""
    packed = subprocess.run(
        ["npm", "pack", "--silent", MERMAID], cwd=folder, check=True, capture_output=True, text=True
    )
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        script = archive.extractfile("package/dist/mermaid.min.js")
        assert script is not None
        (folder / "mermaid.js").write_bytes(script.read())
    page = folder / "page.html"
    page.write_text(f"<!doctype html><script src=mermaid.js></script><script>mermaid.initialize({SETTINGS})</script>")
    return page


def browser(page: Path) -> Chrome:
    """Return a headless browser that shows this page."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    chrome.get(page.as_uri())
    return chrome


def plain(svg: str) -> str:
    """Return a drawing in its own size, without mermaid's colours and fonts, and what its scripts would read."""
    width, height = re.findall(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"', svg)[0]
    svg = re.sub(r' width="100%"| style="max-width:[^"]*"', "", svg, count=2)
    svg = svg.replace("<svg ", f'<svg width="{float(width):.0f}" height="{float(height):.0f}" ', 1)
    return re.sub(r'<style>.*?</style>| data-(points|id|look|edge|et)="[^"]*"', "", svg, flags=re.S)


if __name__ == "__main__":
    main()
