"""`make coco`: its checks of data, weights and machine, and the references' AP; no run at COCO's size."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from paa.errors import ConfigError, PaaError
from paa.model.detector import Detector
from paa.recipes import RECIPES
from tests.weights.formats.test_caffe2 import arrays, python2

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))  # as for a script in that folder

import coco  # noqa: E402
import coco_rehearsal  # noqa: E402

OWN = {"auto", "modern", "r18_nano"}
SHARE = 0.001
TRAIN, VAL = coco.TRAIN.scaled(SHARE), coco.VAL.scaled(SHARE)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A data set as COCO's, of a thousandth of its size."""
    coco_rehearsal.make(tmp_path / "coco", files=3, share=SHARE)
    return tmp_path / "coco"


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refused(tree: Path) -> str:
    """Return the message with which a tree is refused: one line."""
    with pytest.raises(PaaError) as caught:
        coco.check_data(tree, TRAIN, VAL)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_recipe_of_the_references_has_their_ap_and_weights() -> None:
    assert coco.TARGETS.keys() == RECIPES.keys() - OWN
    for name, target in coco.TARGETS.items():
        assert all(35 < ap < 55 for ap in target.ap.values()), name
        assert target.ap.keys() <= ({"MMDetection"} if name.startswith("mmdet_") else {"official", "seed"})
        depth = "".join(re.findall(r"\d+", RECIPES[name].model.backbone.partition("_")[0]))
        assert depth in target.init, name


def test_the_page_has_the_same_ap_and_weights() -> None:
    for name, target in coco.TARGETS.items():
        known = ", ".join(f"{ap} {reference}" for reference, ap in target.ap.items())
        assert f"| `{name}` | `{target.init}` | {known} |" in (ROOT / coco.PAGE).read_text()


def test_a_rehearsal_has_the_form_of_coco(tree: Path) -> None:
    coco.check_data(tree, TRAIN, VAL)
    content = json.loads((tree / "annotations" / "instances_train2017.json").read_text())
    assert len(content["images"]) == TRAIN.images == 118
    assert len(content["annotations"]) == TRAIN.boxes == 860
    assert sum(box["iscrowd"] for box in content["annotations"]) == TRAIN.crowds
    assert [category["id"] for category in content["categories"]][-1] == 90
    assert len(content["categories"]) == 80
    files = list((tree / "train2017").iterdir())
    assert len({file.stat().st_ino for file in files}) == 3


def test_boxes_without_height_are_as_many_as_in_coco(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    coco_rehearsal.write_annotations(path, replace(TRAIN, flat=2), 0, files=3)
    boxes = json.loads(path.read_text())["annotations"]
    assert sum(box["bbox"][3] == 0 for box in boxes) == 2


def test_a_missing_file_or_folder_is_named(tree: Path) -> None:
    (tree / "annotations" / "instances_val2017.json").rename(tree / "elsewhere.json")
    assert "instances_val2017.json does not exist" in refused(tree)
    assert "instances_train2017.json does not exist" in refused(tree / "train2017")


def test_a_missing_image_is_named(tree: Path) -> None:
    (tree / "train2017" / "000000000007.jpg").unlink()
    assert "000000000007.jpg, is not found" in refused(tree)


def test_another_number_of_images_or_boxes_is_named(tree: Path) -> None:
    file = tree / "annotations" / "instances_train2017.json"
    edit(file, lambda content: content.update(annotations=content["annotations"][:-20]))
    assert "840 boxes and not 860" in refused(tree)
    edit(file, lambda content: content.update(images=content["images"][:-1], annotations=content["annotations"][:1]))
    assert re.search("117 images and not 118, 1 images with objects and not 117, 1 boxes and not 860", refused(tree))


def test_other_classes_are_refused(tree: Path) -> None:
    file = tree / "annotations" / "instances_train2017.json"
    edit(file, lambda content: content["categories"][0].update(name="people"))
    assert refused(tree).endswith("other classes")


def test_weights_that_must_be_fetched_by_hand_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"r50_1x starts from R-50.pkl, .*INIT=PATH/R-50.pkl"):
        coco.find_init("r50_1x", tmp_path)
    (tmp_path / "R-101.pkl").touch()
    assert coco.find_init("r101_2x", Path("data")) == "R-101.pkl"
    assert coco.find_init("mmdet_r50_1x", tmp_path) == "torchvision/resnet50.IMAGENET1K_V1"


@pytest.mark.slow
def test_weights_of_another_style_are_refused(tmp_path: Path) -> None:
    state = Detector(replace(RECIPES["mmdet_r50_1x"].model, norm="batch"), ("thing",)).backbone.state_dict()
    file = tmp_path / "resnet50.pth"
    torch.save({name.removeprefix("stem."): tensor for name, tensor in state.items()}, file)
    coco.check_init("mmdet_r50_1x", str(file))
    with pytest.raises(ConfigError, match=r"r50_1x is meant to start from R-50.pkl; .*bgr False and not True"):
        coco.check_init("r50_1x", str(file))


@pytest.mark.slow
def test_weights_of_caffe2_suit_the_official_style_alone(tmp_path: Path) -> None:
    file = tmp_path / "R-50.pkl"
    file.write_bytes(python2({"blobs": arrays()}))
    coco.check_init("r50_1x", str(file))
    with pytest.raises(ConfigError, match="mmdet_r50_1x is meant to start from torchvision/"):
        coco.check_init("mmdet_r50_1x", str(file))
    with pytest.raises(ConfigError, match="backbone resnet50 and not resnet101"):
        coco.check_init("r101_2x", str(file))


def test_processes_are_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert coco.count_processes(None, None) == 4
    assert coco.count_processes("cuda", 2) == 2
    assert coco.count_processes("cuda:1", None) == coco.count_processes("cpu", None) == 1
    assert coco.count_processes("cpu", 2) == 2
    with pytest.raises(ConfigError, match="GPUS=8: torch finds 4 GPUs here"):
        coco.count_processes(None, 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert coco.count_processes(None, None) == 1


def test_without_a_gpu_the_duration_is_named() -> None:
    first, second = coco.describe("r50_1x", 1, on_gpu=False)
    assert "90000 steps of 16 images, 1440000 in all; AP 40.4 official, 40.5 seed" in first
    assert "months" in second


def test_verdicts() -> None:
    assert coco.verdict("r50_1x", 40.3).endswith("reproduced")
    assert "When the AP differs" in coco.verdict("r50_1x", 40.1)
    assert "\n## When the AP differs\n" in (ROOT / coco.PAGE).read_text()
    assert "says nothing" in coco.verdict("r50_1x", 90.0, images=8)


def test_a_run_is_trained_and_evaluated(tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands: list[tuple[str, ...]] = []

    def run(processes: int, *words: str) -> None:
        commands.append(words)
        output = Path(words[words.index("--output") + 1])
        output.mkdir(parents=True)
        (output / "metrics.json").write_text('{"AP": 0.25}')

    monkeypatch.setattr(coco, "run", run)
    monkeypatch.setattr(coco, "check_data", lambda data: None)
    words = ["--data", str(tree), "--output", str(tmp_path / "run"), "--init", "random", "--device", "cpu"]
    arguments = coco.parse_arguments([*words, "--val-num", "8", "--schedule.steps", "2"])
    assert coco.reproduce(*arguments).startswith("AP 25.0 on the first 8 images")
    train, evaluation = commands
    assert train[0] == "train"
    assert {"--no-keep-empty", "--resume", "--val-num", "--schedule.steps"} <= set(train)
    assert "--init" not in train
    assert evaluation[:2] == ("eval", str(tmp_path / "run" / "last.pt"))
    assert evaluation[evaluation.index("--limit") + 1] == "8"


def test_errors_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["coco.py", "--data", str(tmp_path), "--init", "random", "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        coco.main()
    assert re.fullmatch(r"error: .*instances_train2017.json does not exist: .*", str(ended.value))
