"""paa weights: the pre-trained weights that can be named in place of a file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tyro.conf import Positional

from paa.errors import CheckpointError, format_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from paa.weights.hosted import HostedModel


@dataclass(frozen=True)
class ListWeights:
    """List the weights that have a name, and where they are; with names, fetch these now."""

    names: Positional[tuple[str, ...]] = ()
    """Models to fetch now, as mmdet/r50_1x, for use without a network later; default: list all."""
    sizes: bool = False
    """Ask the server for the sizes of files that are not in the cache."""

    usual: ClassVar[None] = None
    """--help shows all options."""

    def run(self, console: Console) -> None:
        """Print the lists, or fetch models and print where their files are."""
        from paa.weights.hosted import MODELS, local_file

        for name in self.names:
            if name not in MODELS:
                raise CheckpointError(f"{name}: no model that can be fetched; known: {', '.join(MODELS)}")
            console.print(f"{name}: {local_file(name)}", markup=False, highlight=False)
        if not self.names:
            self._list(console)

    def _list(self, console: Console) -> None:
        from paa.report.tables import rich_table
        from paa.weights.formats import efficientnet_lite, torchvision
        from paa.weights.hosted import MODELS

        rows, ask = [], self.sizes
        for name, model in MODELS.items():
            size = model.cached.stat().st_size if model.cached.is_file() else None
            where = "not fetched yet" if size is None else str(model.cached)
            if size is None and ask:
                size = _size_on_server(model)
                ask = size is not None  # a server that does not answer is asked once
            size_text = "-" if size is None else format_bytes(size)
            rows.append({"name": name, "AP": f"{model.ap:.1f}", "size": size_text, "where": where})
        console.print(rich_table(rows, "detectors: MMDetection's PAA on COCO, in place of a checkpoint or for --init"))

        backbones = {
            name: "installed" if efficientnet_lite.is_installed(name) else efficientnet_lite.how_to_install(name)
            for name in efficientnet_lite.NAMES
        }
        backbones["torchvision/NAME"] = f"fetched by torchvision; NAME: {', '.join(torchvision.NAMES)}"
        backbones["timm/NAME"] = "fetched by timm; NAME: a model of timm with features of strides 8, 16 and 32"
        rows = [{"name": name, "where": where} for name, where in backbones.items()]
        console.print(rich_table(rows, "backbones: ImageNet weights, for --init"))


def _size_on_server(model: HostedModel) -> int | None:
    """Return the size of a model's file; None, and a warning, where the server does not say."""
    from paa.weights.download import DownloadError, remote_size

    try:
        return remote_size(model.address)
    except DownloadError as error:
        logging.getLogger("paa").warning("sizes: %s: %s", model.address, error)
        return None
