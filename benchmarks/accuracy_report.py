"""Make docs/accuracy.md, and its plots, of the lines that accuracy.py wrote to docs/accuracy.jsonl.

python benchmarks/accuracy_report.py
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from accuracy import SPLITS, TERMS
from accuracy_detectors import DETECTORS, STARTS, Terms

DOCS = Path(__file__).parents[1] / "docs"
COLOURS = {"PAA": "#c0392b", "FCOS": "#2c7fb8", "RetinaNet": "#41ab5d", "Faster R-CNN": "#8c6bb1"}

BACKBONES = {"imagenet": "EfficientNet-Lite0 with ImageNet weights", "random": "ResNet-18 with random weights"}

Line = dict[str, Any]


def read_lines(path: Path) -> list[Line]:
    """Return the runs on test images; those of the development are none of the page's."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if not line["development"]]


def grouped(lines: list[Line]) -> dict[tuple[str, int], dict[tuple[str, str], list[Line]]]:
    """Return (start, epochs) -> (data set, detector) -> the runs, one for each seed."""
    groups: dict[tuple[str, int], dict[tuple[str, str], list[Line]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        groups[line["start"], line["epochs"]][line["data"], line["detector"]].append(line)
    return groups


def cell(runs: list[Line], number: str = "AP") -> str:
    """Return the mean of a number over the seeds, and between which values it lies."""
    values = [run[number] for run in runs]
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.1f} (one seed)"
    return f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def table(cells: dict[tuple[str, str], list[Line]], number: str) -> list[str]:
    """Return a table of one number: a row for each detector, a column for each data set, and the mean of the sets."""
    sets = [name for name in SPLITS if any(data == name for data, _ in cells)]
    rows = [f"| {number} | {' | '.join(sets)} | mean |", "| --- " * (len(sets) + 2) + "|"]
    for detector in DETECTORS:
        found = [cells.get((data, detector), []) for data in sets]
        if not any(found):
            continue
        means = [statistics.mean(run[number] for run in runs) for runs in found if runs]
        mean = f"{statistics.mean(means):.1f}" if len(means) == len(sets) else ""
        rows.append(f"| {detector} | {' | '.join(cell(runs, number) for runs in found)} | {mean} |")
    return rows


def plot(cells: dict[tuple[str, str], list[Line]], path: Path) -> None:
    """Draw the AP over the steps, a panel for each data set: the mean of the seeds, and a band from least to most."""
    sets = [name for name in SPLITS if any(data == name for data, _ in cells)]
    figure, panels = plt.subplots(1, len(sets), figsize=(3.2 * len(sets), 3), squeeze=False)
    for panel, data in zip(panels[0], sets):
        for detector in DETECTORS:
            runs = cells.get((data, detector), [])
            if not runs:
                continue
            steps = [point["step"] for point in runs[0]["curve"]]
            values = list(zip(*([point["AP"] for point in run["curve"]] for run in runs)))
            panel.plot(steps, [statistics.mean(each) for each in values], color=COLOURS[detector], label=detector)
            low, high = [min(each) for each in values], [max(each) for each in values]
            panel.fill_between(steps, low, high, color=COLOURS[detector], alpha=0.15, linewidth=0)
        panel.set(title=data, xlabel="step", ylim=(0, None))
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("AP on the test images")
    lines = {str(line.get_label()): line for panel in panels[0] for line in panel.get_lines()}  # of any panel
    panels[0][0].legend(lines.values(), lines.keys(), fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def describe(terms: Terms) -> str:
    """Return the terms of a start in a sentence."""
    return (
        f"images of {terms.size} pixels, width {terms.channels}, {terms.batch_size} images a step, AdamW, "
        f"learning rate {terms.lr:g} (the backbone's {terms.lr * terms.backbone_lr_factor:g}), "
        f"weight decay {terms.weight_decay:g}, "
        f"{terms.warmup_steps} steps of warm-up (at most a quarter of the run), cosine, gradients clipped at "
        f"{terms.clip_norm:g}, flips"
    )


HEAD = """# Accuracy

This project's detector and three of torchvision's on four small real data sets, on equal terms: the same backbone with
the same start, the same width, the same batches of images, flipped alike, the same optimizer and learning rates, the
same seeds. `benchmarks/accuracy_detectors.py` says what each detector is, `benchmarks/accuracy.py` how it is trained.
COCO's numbers, in percent, on the test images, by pycocotools; always those of the last step, never the best. Each cell
is the mean over the seeds, with the least and the greatest value. An empty cell, start or budget has not been run yet.

Where small objects have fewer than 20 pixels, on the blood cells (bccd), PAA's pyramid begins at P2, of stride 4, with
anchors from 16 pixels on, as the recipe `auto` decides ([what that is
worth](results.md#what-the-defaults-of-training-rest-on), measured on images held out of training); in the run of 48
epochs, which is older, they begin at 32. Faster R-CNN's pyramid begins at P2 on all sets; FCOS and RetinaNet have
torchvision's P3. Classes start at probability 0.1 in PAA, and from random weights its towers have one convolution, both
as `auto` decides; FCOS and RetinaNet have torchvision's 0.01 and four convolutions. From commit 1252836 on Faster R-CNN
pools its boxes by `benchmarks/sparse_roi_align.py`, which gives torchvision's numbers to rounding in less time.

`make accuracy DATA=FOLDER`, with the data sets in that folder, runs what is missing in `docs/accuracy.jsonl`, where all
twelve numbers of every run are, and makes this page.
"""


def page(lines: list[Line]) -> str:
    """Return the page, and write its plots."""
    parts = [HEAD]
    for (start, epochs), cells in sorted(grouped(lines).items()):
        runs = [run for each in cells.values() for run in each]
        seeds = sorted({run["seed"] for run in runs})
        image = DOCS / "images" / f"accuracy-{start}-{epochs}.png"
        plot(cells, image)
        parts.append(f"## {BACKBONES[start]}, {epochs} epochs\n")
        parts.append(f"Terms: {describe(TERMS[start])}. Seeds {', '.join(map(str, seeds))}.\n")
        for number in ("AP", "AP50", "AP75"):
            parts += [*table(cells, number), ""]
        parts.append(f"![AP over the steps](images/{image.name})\n")
        hours = sum(run["seconds"] for run in runs) / 3600
        machines = {run["machine"].get("gpu") or run["machine"]["cpu"] for run in runs}
        commits = sorted({run["commit"] for run in runs})
        threads = sorted({run["threads"] for run in runs})
        parts.append(
            f"{len(runs)} runs, {hours:.1f} hours of training in all by the clock, pauses included, "
            f"{'/'.join(map(str, threads))} thread(s) each, "
            f"other programs beside them, on {', '.join(sorted(machines))}; commits {', '.join(commits)}.\n"
        )
    return "\n".join(parts)


def main() -> None:
    """Write the page."""
    assert set(COLOURS) == set(DETECTORS)
    assert set(TERMS) == set(STARTS) == set(BACKBONES)
    (DOCS / "accuracy.md").write_text(page(read_lines(DOCS / "accuracy.jsonl")))


if __name__ == "__main__":
    main()
