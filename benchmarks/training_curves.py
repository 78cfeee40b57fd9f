"""Plot how runs went: AP on their validation images, and the positives that the assignment made of each object.

Each folder is one of `paa train`, whose data set is read once more for the number of objects.

    python benchmarks/training_curves.py runs/auto-bccd runs/auto-raccoon ... --output docs/images/auto.png
"""

from __future__ import annotations

import argparse
import json
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from paa.data.read import read_dataset

COLOURS = ("#c0392b", "#2c7fb8", "#41ab5d", "#8c6bb1", "#e08214", "#666666")
SMOOTHED = 5
"""Records of the log that a point of the curve of positives is the mean of; each is of one batch."""


def objects_per_batch(config: dict[str, Any]) -> float:
    """Return the objects of a batch, in the mean over the data set."""
    index = read_dataset(Path(config["data"]["path"]), config["data"]["train_split"])
    return config["batch_size"] * float((~index.crowd).sum()) / len(index)


def main() -> None:
    """Plot, and print each run's numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for folder, colour in zip(arguments.folders, cycle(COLOURS), strict=False):
        config = json.loads((folder / "config.json").read_text())
        records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        name = Path(config["data"]["path"]).name
        validations = [(record["step"], record["AP"]) for record in records if record.get("AP") is not None]
        batches = [(record["step"], record["positives"]) for record in records if "positives" in record]
        steps, positives = (np.array(column, float) for column in zip(*batches))
        ratio = positives / objects_per_batch(config)
        left.plot(*zip(*[(step, 100 * ap) for step, ap in validations]), color=colour, label=name, marker=".")
        smooth = np.convolve(ratio, np.ones(SMOOTHED) / SMOOTHED, "valid")
        right.plot(steps[SMOOTHED // 2 :][: len(smooth)], smooth, color=colour, label=name)
        curve = " ".join(f"{100 * ap:.1f}" for _, ap in validations)
        first, last = np.mean(ratio[:5]), np.mean(ratio[-5:])
        print(f"{name}: AP {curve}; positives of an object {first:.1f} at first, {last:.1f} at last")
    left.set(xlabel="step", ylabel="AP on the validation images")
    right.set(xlabel="step", ylabel="positives of an object", ylim=(0, None))
    left.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(arguments.output, dpi=110)


if __name__ == "__main__":
    main()
