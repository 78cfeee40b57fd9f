"""paa weights: the pre-trained weights that can be named in place of a file."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

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
    json: bool = False
    """Print names, places and sizes as JSON."""

    usual: ClassVar[None] = None
    """--help shows all options."""

    def run(self, console: Console) -> None:
        """Print the lists, or fetch models and print where their files are."""
        from paa.weights.hosted import MODELS, local_file

        fetched = {}
        for name in self.names:
            if name not in MODELS:
                raise CheckpointError(f"{name}: no model that can be fetched; known: {', '.join(MODELS)}")
            fetched[name] = str(local_file(name))
            if not self.json:
                console.print(f"{name}: {fetched[name]}", markup=False, highlight=False)
        if self.json:
            listed = {"detectors": self._detectors(), "backbones": _backbones()}
            print(json.dumps(fetched if self.names else listed, indent=1))
        elif not self.names:
            self._list(console)

    def _list(self, console: Console) -> None:
        from paa.report.tables import rich_table

        rows = [
            {
                "name": str(detector["name"]),
                "AP": f"{detector['AP']:.1f}",
                "size": "-" if detector["bytes"] is None else format_bytes(detector["bytes"]),
                "where": detector["path"] or "not fetched yet",
            }
            for detector in self._detectors()
        ]
        console.print(rich_table(rows, "detectors: MMDetection's PAA on COCO, in place of a checkpoint or for --init"))
        rows = [{"name": name, "where": where} for name, where in _backbones().items()]
        console.print(rich_table(rows, "backbones: ImageNet weights, for --init"))

    def _detectors(self) -> list[dict[str, Any]]:
        """Return each model's name, AP in percent, path (None before it is fetched) and bytes (None if unknown)."""
        from paa.weights.hosted import MODELS

        found, ask = [], self.sizes
        for name, model in MODELS.items():
            path = model.cached if model.cached.is_file() else None
            size = None if path is None else path.stat().st_size
            if size is None and ask:
                size = _size_on_server(model)
                ask = size is not None  # a server that does not answer is asked once
            found.append({"name": name, "AP": model.ap, "path": None if path is None else str(path), "bytes": size})
        return found


def _backbones() -> dict[str, str]:
    """Return where the backbones' weights of each name are."""
    from paa.weights.formats import efficientnet_lite, torchvision

    return {
        **{
            name: "installed" if efficientnet_lite.is_installed(name) else efficientnet_lite.how_to_install(name)
            for name in efficientnet_lite.NAMES
        },
        "torchvision/NAME": f"fetched by torchvision; NAME: {', '.join(torchvision.NAMES)}",
        "timm/NAME": "fetched by timm; NAME: a model of timm with features of strides 8, 16 and 32",
    }


def _size_on_server(model: HostedModel) -> int | None:
    """Return the size of a model's file; None, and a warning, where the server does not say."""
    from paa.weights.download import DownloadError, remote_size

    try:
        return remote_size(model.address)
    except DownloadError as error:
        logging.getLogger("paa").warning("sizes: %s: %s", model.address, error)
        return None
