"""The detector as a user holds it: load it, ask it, save it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from paa.detections import Detections
from paa.engine.distributed import pick_device
from paa.engine.predict import Source, predict
from paa.engine.run_folder import save_checkpoint
from paa.errors import ConfigError
from paa.model.detector import Detector
from paa.weights import own
from paa.weights.read import build, read_weights


class PAA(Detector):
    """A detector that takes what a person has and returns `Detections`."""

    @overload
    def predict(  # type: ignore[overload-overlap]  # a path is a sequence of strings, but is taken as a path
        self, source: Source, *, threshold: float = ..., limit: int = ..., voting: bool = ..., batch_size: int = ...
    ) -> Detections: ...
    @overload
    def predict(
        self,
        source: Sequence[Source],
        *,
        threshold: float = ...,
        limit: int = ...,
        voting: bool = ...,
        batch_size: int = ...,
    ) -> list[Detections]: ...
    def predict(
        self,
        source: Source | Sequence[Source],
        *,
        threshold: float = 0.0,
        limit: int = 100,
        voting: bool = True,
        batch_size: int = 1,
    ) -> Detections | list[Detections]:
        """Return the detections of a picture, or of each of a list of pictures.

        source: a path, a PIL picture, an array (H, W), (H, W, 3 or 4) or a tensor (3, H, W), of uint8 or of floats in
        0..1, or a list of these. threshold: least score that is returned. limit: boxes a picture. ImageError if a
        picture cannot be read.
        """
        if not 0 <= threshold <= 1:
            raise ConfigError(f"the threshold must be from 0 to 1, got {threshold}")
        several = isinstance(source, (list, tuple))
        sources: Sequence[Source] = source if several else [source]  # type: ignore[assignment,list-item]
        pairs = predict(self, sources, limit=limit, voting=voting, batch_size=batch_size)
        found = [detections.above(threshold) for _, detections in pairs]
        return found if several else found[0]

    def save(self, path: str | Path) -> None:
        """Write the model to one file that `load` reads."""
        save_checkpoint(Path(path), own.write(self.config, self.names, self.state_dict()))


def load(path: str | Path, device: str | None = None) -> PAA:
    """Return the model in a checkpoint of this project, the seed or MMDetection, ready to predict.

    device: cpu, cuda, ...; by default a GPU if there is one. CheckpointError says what is wrong with a file.
    """
    chosen = pick_device(device)
    return build(read_weights(Path(path)), str(path), PAA).to(chosen)
