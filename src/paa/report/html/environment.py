"""What the templates of all pages share: where they are, and that they escape what comes from other people."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from paa.report.tables import interval_text, percent

_TEMPLATES = Path(__file__).parent / "templates"


def make_environment() -> Environment:
    """Return the environment of the templates. Names of classes and files come from other people: all are escaped."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "interval": interval_text}
    return environment
