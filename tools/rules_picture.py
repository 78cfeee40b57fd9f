"""Draw the positives of one image by each assignment rule: docs/images/assignment-rules.jpg.

    python tools/rules_picture.py CHECKPOINT DATA [--image 3]

CHECKPOINT: a detector; DATA: the data set that it was trained on, whose images to train on are shown.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import paa
from paa.assigners import ASSIGNERS, make_assigner
from paa.config import LoadingConfig
from paa.core import level_of
from paa.data.loader import eval_loader
from paa.data.read import read_dataset
from paa.data.transforms import Resize
from paa.report.figures import hex_colour, new_figure, save_figure

OUT = Path(__file__).parents[1] / "docs" / "images" / "assignment-rules.jpg"
COLUMNS = 4


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--image", type=int, default=3, help="which of the images to train on, from 0")
    given = parser.parse_args()
    model = paa.load(given.checkpoint, "cpu")
    index = read_dataset(given.data, "train", names=model.names)
    resize = Resize(model.config.min_size, model.config.max_size)
    loading = LoadingConfig(workers=0, batch_size=1)
    batch = next(iter(eval_loader(index.select([given.image]), resize, loading=loading)))
    with torch.no_grad():
        outputs = model(batch.images, batch.sizes)
    anchors = model.anchors(outputs)
    height, width = batch.sizes[0].tolist()
    pixels = batch.images[0, :, :height, :width].permute(1, 2, 0).numpy()

    rows = -(-len(ASSIGNERS) // COLUMNS)
    figure = new_figure(2.6 * COLUMNS, (2.6 * height / width + 0.3) * rows, OUT)
    if figure is None:
        raise SystemExit(1)
    for number, name in enumerate(ASSIGNERS, start=1):
        assignment = paa.assign(outputs, anchors, batch.gt_boxes, batch.gt_labels, assigner=make_assigner(name))
        owners = assignment.objects(len(anchors))[0]
        axes: Any = figure.add_subplot(rows, COLUMNS, number)
        axes.imshow(pixels)
        for box in batch.gt_boxes[0][batch.gt_labels[0] >= 0].tolist():
            axes.add_patch(_rectangle(box))
        chosen = torch.nonzero(owners >= 0).flatten()
        levels = level_of(chosen, outputs.level_starts())
        for anchor, level in zip(chosen.tolist(), levels.tolist()):
            x1, y1, x2, y2 = anchors[anchor].tolist()
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
            axes.plot(x, y, "o", ms=3 + 3 * level, mfc="none", mec=hex_colour(level), mew=1.4)
        axes.set_title(f"{name}: {len(chosen)}", size=9)
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.axis("off")
    temporary = OUT.with_suffix(".png")
    save_figure(figure, temporary)
    with Image.open(temporary) as drawn:
        drawn.convert("RGB").save(OUT, quality=85, optimize=True)
    temporary.unlink()


def _rectangle(box: list[float]) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((box[0], box[1]), box[2] - box[0], box[3] - box[1], fill=False, ec="white", lw=1.2)


if __name__ == "__main__":
    main()
