"""The numbers of positives by a checkpoint's assignment, against the assignment of each image by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import paa
from paa.commands.main import main
from paa.config import LoadingConfig
from paa.data.batch import collate
from paa.data.images.read import read_image
from paa.data.read import read_dataset
from paa.data.transforms import Resize
from paa.inspection.positives import NOT_ASSIGNED, count_positives, few_positives_problems

LOADING = LoadingConfig(workers=0, batch_size=1)


def test_positives_of_each_object(shapes: Path, checkpoint: Path) -> None:
    index, model = read_dataset(shapes, "train"), paa.load(checkpoint, "cpu")
    resize = Resize(model.config.min_size, model.config.max_size)
    done: list[int] = []
    counts = count_positives(index, model, resize, LOADING, done.append)
    assert sum(done) == len(index)
    for i in range(len(index)):
        image = torch.from_numpy(read_image(index.path(i))).permute(2, 0, 1)
        boxes, labels = map(torch.from_numpy, index.targets(i))
        resized, boxes = resize(image, boxes)
        images, sizes = collate([resized])
        with torch.no_grad():
            outputs = model.eval()(images, sizes)
        expected = paa.assign(outputs, model.anchors(outputs), boxes[None], labels[None]).num_positives[0]
        assert counts[index.offsets[i] : index.offsets[i + 1]].tolist() == expected.tolist()
    assert counts.max() > 1


def test_the_rule_of_the_training(shapes: Path, checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    """Whose positives the command counts, unless another is named."""
    model = paa.load(checkpoint, "cpu")
    model.provenance["assigner"] = "one-to-one"
    model.save(tmp_path / "model.safetensors")
    found = []
    for words in ([], ["--assigner", "paa"]):
        command = ["data", "check", shapes, "--checkpoint", tmp_path / "model.safetensors", *words]
        main([*map(str, command), "--device", "cpu", "--workers", "0", "--json"])
        found.append(json.loads(capsys.readouterr().out)["positives"]["train"])
    assert (found[0]["least"], found[0]["most"]) == (1, 1)
    assert found[1]["most"] > 1


def test_what_is_not_assigned(shapes: Path, checkpoint: Path) -> None:
    index, model = read_dataset(shapes, "train"), paa.load(checkpoint, "cpu")
    resize = Resize(model.config.min_size, model.config.max_size)
    whole = count_positives(index, model, resize, LOADING)
    crowd = np.zeros_like(index.crowd)
    crowd[1] = True
    names = ("circle", "square", "triangle", "comet")
    counts = count_positives(replace(index, crowd=crowd, names=names), model, resize, LOADING)
    unknown = index.labels == 3
    assert unknown.any()
    assert (counts[unknown | crowd] == NOT_ASSIGNED).all()
    assert (counts[~unknown & ~crowd] >= 0).all()
    assert (whole >= 0).all()


def test_classes_in_another_order(shapes: Path, checkpoint: Path) -> None:
    index, model = read_dataset(shapes, "train"), paa.load(checkpoint, "cpu")
    resize = Resize(model.config.min_size, model.config.max_size)
    turned = replace(index, names=index.names[::-1], labels=3 - index.labels)
    expected = count_positives(index, model, resize, LOADING)
    assert count_positives(turned, model, resize, LOADING).tolist() == expected.tolist()


def test_few_positives_are_named(shapes: Path) -> None:
    index = read_dataset(shapes, "train")
    counts = np.full(len(index.boxes), 5)
    counts[:3] = [NOT_ASSIGNED, 0, 1]
    problems = list(few_positives_problems("train", index, counts, 2))
    assert [problem.message.rpartition(", ")[2] for problem in problems] == ["gets no positive", "gets 1 positive"]
    assert len(list(few_positives_problems("train", index, counts, 1))) == 1
