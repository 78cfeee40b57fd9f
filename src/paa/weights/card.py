"""The model card beside a file of weights: README.md, as a training run and the Hugging Face hub have it."""

from __future__ import annotations

import re
from pathlib import Path

CARD_FILE = "README.md"
_OURS = re.compile(r"---\n(?:(?!---\n).*\n)*?library_name: paa\n")
"""The beginning of a card of this project: any other README.md may be about anything."""


def card_beside(path: Path) -> str | None:
    """Return the model card in the folder of a file; None if there is none."""
    try:
        text = (path.parent / CARD_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return text if _OURS.match(text) else None


def card_of_model(card: str, model: str, source: str | None) -> str:
    """Return a run's card as that of one model file; source: the name of the checkpoint whose weights it has."""
    if source is None or source == model or f"`{model}` has" in card:
        return card
    return card.replace("\n## Use\n", f"\nIn this repository, `{model}` has the weights of `{source}`.\n\n## Use\n", 1)
