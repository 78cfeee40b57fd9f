"""The files of a prediction: every picture with its boxes drawn, and all detections as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from paa.config import InferenceConfig
from paa.engine.predict import predict
from paa.engine.run_folder import check_folder, write_text
from paa.errors import ConfigError
from paa.model.detector import Detector
from paa.report.drawing import draw_detections


def write_predictions(
    detector: Detector,
    pictures: Sequence[Path],
    folder: Path,
    *,
    threshold: float = 0.3,
    inference: InferenceConfig = InferenceConfig(),
    batch_size: int = 1,
    precision: str = "float32",
) -> list[int]:
    """Write each picture, drawn, and detections.json to `folder`; return the number of objects in each picture.

    threshold: least score that is drawn and written. detections.json is a list of
    {file, drawn, width, height, detections: [{box: xyxy, score, label, name}]}, written when all pictures are done.
    ConfigError for a threshold outside 0..1, and where a drawing would take the place of one of the pictures.
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"the threshold must be from 0 to 1, got {threshold}")
    check_folder(folder)
    names = _drawn_names(pictures)
    lost = {path.resolve() for path in pictures} & {(folder / name).resolve() for name in names}
    if lost:
        raise ConfigError(f"{min(lost)}: would be overwritten by its drawing; give another --output")
    records, counts = [], []
    found = predict(detector, pictures, inference=inference, batch_size=batch_size, precision=precision)
    for path, drawn, (image, detections) in zip(pictures, names, found):
        folder.mkdir(parents=True, exist_ok=True)  # not before there is something to put in it
        kept = detections.above(threshold)
        draw_detections(image, kept, threshold).save(folder / drawn, quality=92)
        height, width = image.shape[:2]
        records.append(
            {"file": str(path), "drawn": drawn, "width": width, "height": height, "detections": kept.to_dicts()}
        )
        counts.append(len(kept))
    write_text(folder / "detections.json", json.dumps(records, indent=1) + "\n")
    return counts


def _drawn_names(pictures: Sequence[Path]) -> list[str]:
    """Return a file name for each, no two alike though pictures of different folders may share theirs."""
    names: dict[str, None] = {}
    for path in pictures:
        name, number = f"{path.stem}.jpg", 1
        while name in names:
            number += 1
            name = f"{path.stem}-{number}.jpg"
        names[name] = None
    return list(names)
