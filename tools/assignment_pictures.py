"""Draw how the positives of an object are chosen, early in training and later: docs/images/assignment.png.

    python tools/assignment_pictures.py [--folder FOLDER]

Trains a detector on drawn shapes for some minutes (in a temporary folder, unless one is named, in which a run that is
there already is used), and shows what the paper's rule makes of one object of a validation image: its candidates, the
two Gaussians that are fitted to their scores, and the anchors that become positive.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

import paa
from paa.config import LoadingConfig
from paa.core import Assignment, fit_mixtures
from paa.data.loader import eval_loader
from paa.data.read import read_dataset
from paa.data.shapes import make_shapes
from paa.data.transforms import Resize
from paa.report.figures import GREY, hex_colour, new_figure, plain_axes, save_figure

OUT = Path(__file__).parents[1] / "docs" / "images" / "assignment.png"
IMAGES, EARLY, STEPS = 400, 20, 320
IMAGE, OBJECT = 6, 0  # which object of the validation images is shown
BINS = 30
POSITIVE, NEGATIVE = hex_colour(0), hex_colour(1)


@dataclass(frozen=True)
class Candidates:
    """Candidates of an object: its image (H, W, 3), box (4,), anchors (n, 4), scores (n,), how many are positive."""

    pixels: npt.NDArray[np.uint8]
    box: Tensor
    anchors: Tensor
    scores: Tensor
    positives: int


def main() -> None:
    """Train, where that has not been done, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--folder", type=Path, help="for the data set and the run; default: a temporary one")
    given = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        folder = given or Path(temporary)
        early, late = train(folder)
        draw({EARLY: candidates(early, folder / "shapes"), STEPS: candidates(late, folder / "shapes")})


def train(folder: Path) -> tuple[Path, Path]:
    """Return the checkpoints of an early step and of the last one."""
    early, late = folder / "early.pt", folder / "run" / "last.pt"
    if not early.exists():
        data = make_shapes(folder / "shapes", IMAGES)

        def stop_early(record: dict[str, Any]) -> object:
            print(record)
            return paa.STOP if record["step"] == EARLY else None

        same: dict[str, Any] = {
            "output": folder / "run",
            "steps": STEPS,
            "runtime": {"workers": 0, "log_interval": EARLY, "precision": "float32"},
            "validation": {"batch_size": 0},
        }
        paa.train(data, listener=stop_early, **same)
        shutil.copy(late, early)
        paa.train(data, resume="last", listener=print, **same)
    return early, late


@torch.no_grad()
def candidates(checkpoint: Path, data: Path) -> Candidates:
    """Return the candidates of the object, with the scores that this checkpoint gives them."""
    model = paa.load(checkpoint, "cpu")
    index, resize = read_dataset(data, "val"), Resize(model.config.min_size, model.config.max_size)
    batches = iter(eval_loader(index, resize, loading=LoadingConfig(workers=0, batch_size=1)))
    batch = [next(batches) for _ in range(IMAGE + 1)][-1]
    outputs = model(batch.images, batch.sizes)
    anchors = model.anchors(outputs)
    assignment: Assignment = paa.assign(outputs, anchors, batch.gt_boxes, batch.gt_labels)
    n, positives = int(assignment.num_candidates[0, OBJECT]), int(assignment.num_positives[0, OBJECT])
    height, width = batch.sizes[0].tolist()
    chosen, scores = assignment.anchors[0, OBJECT, :n], assignment.scores[0, OBJECT, :n]
    return Candidates(
        batch.images[0, :, :height, :width].permute(1, 2, 0).numpy(),
        batch.gt_boxes[0, OBJECT],
        anchors[chosen],
        scores,
        positives,
    )


def draw(by_step: dict[int, Candidates]) -> None:
    """Draw a row for each step: the image with the anchors, and the scores with the mixture."""
    figure = new_figure(9.4, 3.0 * len(by_step), OUT)
    if figure is None:
        raise SystemExit(1)
    for row, (step, shown) in enumerate(by_step.items()):
        left, right = (figure.add_subplot(len(by_step), 2, 2 * row + column) for column in (1, 2))
        draw_anchors(left, shown)
        left.set_title(f"after {step} steps: {shown.positives} of {len(shown.scores)} candidates are positive", size=9)
        draw_mixture(right, shown)
    save_figure(figure, OUT)
    with Image.open(OUT) as drawn:
        fewer = drawn.convert("RGB").quantize(160)  # a third of the bytes
    fewer.save(OUT, optimize=True)
    print(OUT)


def draw_anchors(axes: Any, shown: Candidates) -> None:
    """Draw the object, the positive anchors as boxes, and the centres of all candidates."""
    from matplotlib.patches import Rectangle

    height, width = shown.pixels.shape[:2]
    axes.imshow(shown.pixels, extent=(0, width, height, 0))
    for x1, y1, x2, y2 in shown.anchors[: shown.positives].tolist():
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=POSITIVE, linewidth=1.1, alpha=0.8))
    x1, y1, x2, y2 = shown.box.tolist()
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="white", linewidth=3.2))
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="black", linewidth=1.6))
    centres = (shown.anchors[:, :2] + shown.anchors[:, 2:]) / 2
    for part, colour in ((slice(shown.positives, None), NEGATIVE), (slice(shown.positives), POSITIVE)):
        axes.scatter(*centres[part].T.numpy(), s=16, color=colour, edgecolors="white", linewidths=0.5, zorder=3)
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])


def draw_mixture(axes: Any, shown: Candidates) -> None:
    """Draw the scores of the candidates, the two weighted Gaussians, and the cut."""
    scores = shown.scores.double().numpy()
    mixture = fit_mixtures(shown.scores[None].double(), torch.tensor([len(scores)]))
    edges = np.linspace(scores[0], scores[-1], BINS + 1)
    x = torch.linspace(edges[0] - 3 * (edges[1] - edges[0]), edges[-1] + 3 * (edges[1] - edges[0]), 900)
    in_a_bin = len(scores) * (edges[1] - edges[0])  # from a density to the candidates expected in a bin
    low, high = in_a_bin * mixture.log_densities(x.double()[None, None], torch).exp()[0]
    parts = scores[: shown.positives], scores[shown.positives :]
    axes.hist(parts, bins=edges, stacked=True, color=(POSITIVE, NEGATIVE), alpha=0.5)
    axes.plot(x, low, color=POSITIVE, label="Gaussian of low scores")
    axes.plot(x, high, color=NEGATIVE, label="Gaussian of high scores")
    if len(parts[1]):
        axes.axvline((parts[0][-1] + parts[1][0]) / 2, color=GREY, linestyle="--", label="cut")
    axes.set_xlabel("score of a candidate: its loss as a positive", size=8, color=GREY)
    axes.set_ylabel("candidates", size=8, color=GREY)
    axes.legend(fontsize=7, frameon=False)
    plain_axes(axes)


if __name__ == "__main__":
    main()
