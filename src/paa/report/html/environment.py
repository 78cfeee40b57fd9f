"""The templates of the pages. What other people named, as files and classes, is escaped in all of them."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from paa.report.tables import interval_text, percent


def page_templates() -> Environment:
    """Return the templates in `templates/`, with the filters that they use."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "interval": interval_text}
    return environment
