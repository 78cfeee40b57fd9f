"""How Sphinx builds the site of these pages: `make docs`. The pages are plain Markdown, and read well without it.

Nothing on the site comes from another server: no fonts, no scripts, no analytics. Diagrams are drawn beforehand, by
tools/diagrams.py.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import paa  # noqa: E402
from diagrams import drawing  # noqa: E402

project = "PAA"
author = copyright = "the PAA contributors"
version = release = paa.__version__
REPOSITORY = "https://github.com/paa-contributors/paa"
"""Where links to files of the project go that are no pages."""

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["benchmarks-notes.md"]  # a part of benchmarks.md

html_theme = "furo"
html_title = f"PAA {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_search_summary = False  # a page that is opened as a file may not read the others
html_theme_options = {"source_repository": REPOSITORY, "source_branch": "main", "source_directory": "docs/"}

myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
nb_execution_mode = "off"  # a test runs the notebook, and its outputs are kept in the file

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", r".*"),  # words in backticks that are no names of the reference
    ("py:class", r"(torch|torchvision|numpy|npt|PIL|Image|pathlib|collections|weakref)\..*|Tensor|Path"),
]
_PRIVATE = ("data.index.Windows", "data.loader.Loader", "runtime.distributed.Process")
nitpick_ignore = [("py:class", f"paa.{name}") for name in _PRIVATE]


class Mermaid(SphinxDirective):
    """Show a diagram as the SVG file that tools/diagrams.py drew of it."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the drawing, as a part of the page, so that its colours are the page's."""
        file = drawing("\n".join(self.content))
        self.env.note_dependency(str(file))
        if not file.exists():
            raise self.error("this diagram has changed and is not drawn yet: make diagrams")
        return [nodes.raw("", f'<div class="diagram">{file.read_text(encoding="utf-8")}</div>', format="html")]


def link_to_source(app: Sphinx, docname: str, text: list[str]) -> None:
    """Let links to files outside this folder, which a code host can show, lead to the code host."""
    up = r"\.\./" * (1 + docname.count("/"))
    text[0] = re.sub(rf"\]\({up}(?!\.\.)", f"]({REPOSITORY}/blob/main/", text[0])


def show_names(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Print in bold the arguments and fields that a docstring describes, as in "threshold: least score"."""
    try:
        names = set(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        return
    names |= set(getattr(thing, "__annotations__", ()))
    shape = r" \([^()]*(?:\([^()]*\)[^()]*)*\)"
    described = rf"(?<![\w`*.])(\w+)(?=(?:{shape})?(?:(?:, | and )\w+(?:{shape})?)*:\s| \((?:[A-Z]|n,|\.\.\.))"
    text = re.sub(described, lambda at: f"**{at[1]}**" if at[1] in names else at[0], "\n".join(lines))
    lines[:] = text.split("\n")


def drop_empty_globs(app: Sphinx, docname: str, text: list[str]) -> None:
    """Leave out the patterns in a toctree that no page matches yet, which Sphinx would warn of."""
    for pattern in re.findall(r"^[\w-]+\*$", text[0], flags=re.M):
        if not any(Path(app.srcdir).glob(f"{pattern}.md")):
            text[0] = text[0].replace(f"\n{pattern}\n", "\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Add what is particular to this site."""
    app.add_directive("mermaid", Mermaid)
    app.connect("source-read", link_to_source)
    app.connect("autodoc-process-docstring", show_names)
    app.connect("source-read", drop_empty_globs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
