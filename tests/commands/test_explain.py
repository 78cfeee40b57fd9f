"""paa explain on a checkpoint and a data set, and on the folder of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paa.commands.main import main
from paa.explanation.history import History, Watched
from tests.explanation.objects import LEVELS, make_object

QUICK = ("--workers", "0", "--device", "cpu")


def explain(*arguments: object) -> None:
    main(["explain", *map(str, arguments), *QUICK])


def read(folder: Path) -> dict:
    return json.loads((folder / "assignment.json").read_text())


def test_a_data_set(tmp_path: Path, shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    explain(checkpoint, "--data", shapes, "--split", "train", "--output", out, "--limit", 3, "--pictures", 1)
    values = read(out)
    assert sorted(path.name for path in out.iterdir()) == ["assignment-1.png", "assignment.html", "assignment.json"]
    assert values["images"] == 8
    assert len(values["objects"]) == values["summary"]["whole"]["objects"] > 8
    assert {"per_level=3", "atss"} <= values["objects"][0]["what_if"].keys()
    assert (out / "assignment.html").read_text().count('<figure class="object">') == 3
    shown = capsys.readouterr().out
    assert "positives per object" in shown
    assert "what if" in shown


def test_some_images_by_another_rule(tmp_path: Path, shapes: Path, checkpoint: Path) -> None:
    whole = json.loads((shapes / "train.json").read_text())
    some = [image["id"] for image in whole["images"][1:3]]
    explain(
        *(checkpoint, "--data", shapes, "--split", "train", "--image", *some, "--output", tmp_path),
        *("--assigner", "simota", "--no-what-if"),
    )
    values = read(tmp_path)
    assert {one["image_id"] for one in values["objects"]} == set(some)
    assert {one["mixture"] for one in values["objects"]} == {None}
    assert values["objects"][0]["what_if"] == {}
    expected = [one for one in whole["annotations"] if one["image_id"] in some]
    assert len(values["objects"]) == len(expected)


def test_the_rule_of_the_training_is_the_default(
    tmp_path: Path, shapes: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of a model file that is made of the checkpoint; a rule that is code is not run unless it is named."""
    run, model, out = tmp_path / "run", tmp_path / "model.safetensors", tmp_path / "out"
    rule = "atss(per_level=5)"
    main(["train", "--data", str(shapes), *options, "--output", str(run), "--assigner", rule])
    main(["convert", str(run / "last.pt"), str(model)])
    for trained in (run / "last.pt", model):
        explain(trained, "--data", shapes, "--output", out)
        assert read(out)["assigner"] == rule
        assert "paa" in [one["name"] for one in read(out)["summary"]["what_if"]]
    explain(model, "--data", shapes, "--output", out, "--assigner", "paa")
    assert read(out)["assigner"] == "paa"

    content = torch.load(run / "last.pt", weights_only=True)
    content["training"]["run_config"]["assigner"] = f"{tmp_path}/rules.py:rule"
    (tmp_path / "rules.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\n")
    torch.save(content, tmp_path / "foreign.pt")
    with pytest.raises(SystemExit) as stopped:
        explain(tmp_path / "foreign.pt", "--data", shapes, "--output", out)
    assert stopped.value.code == 2
    assert "is code that would be run" in capsys.readouterr().err
    assert not (tmp_path / "was-run").exists()


def test_images_that_cannot_be_read_are_left_out(
    tmp_path: Path, shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = json.loads((shapes / "train.json").read_text())
    whole["images"][0]["file_name"] = "lost.jpg"
    (tmp_path / "train.json").write_text(json.dumps(whole))
    given = (checkpoint, "--data", tmp_path / "train.json", "--split", "train", "--images", shapes / "images")
    with pytest.raises(SystemExit) as stopped:
        explain(*given, "--output", tmp_path / "out")
    assert stopped.value.code == 2
    assert "lost.jpg" in capsys.readouterr().err
    out = tmp_path / "out"
    explain(*given, "--output", out, "--skip-bad", "--pictures", 2)
    assert read(out)["images"] == 7
    assert "lost.jpg" in (out / "left_out.txt").read_text()
    (out / "assignment-study.png").write_text("somebody's")
    explain(checkpoint, "--data", shapes, "--split", "train", "--output", out, "--pictures", 1)
    there = sorted(path.name for path in out.iterdir())  # nothing of the call before
    assert there == ["assignment-1.png", "assignment-study.png", "assignment.html", "assignment.json"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    history = History(folder)
    pixels = np.full((50, 60, 3), 128, np.uint8)
    history.begin([Watched("a.jpg", 7, "star"), Watched("b.jpg", 9, "circle")], LEVELS, [pixels, pixels])
    for step in (0, 20, 40):
        history.append(step, [make_object(2, 9, seed=step), make_object(1 + step // 10, 9, seed=1)])
    return folder


def test_a_run(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explain(run, "--output", tmp_path / "out")
    names = [f"object-{i}.{kind}" for i in (1, 2) for kind in ("json", "webp")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    with Image.open(tmp_path / "out" / "object-2.webp") as animation:
        assert animation.n_frames == 3
    values = json.loads((tmp_path / "out" / "object-2.json").read_text())
    assert (values["file"], values["class_name"]) == ("b.jpg", "circle")
    assert [(frame["step"], frame["positives"]) for frame in values["frames"]] == [(0, 1), (20, 3), (40, 5)]
    assert "object-1.webp" in capsys.readouterr().out


def test_one_object_of_a_run(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explain(run, "--output", tmp_path / "out", "--image", "b")
    assert len(list((tmp_path / "out").iterdir())) == 2
    with pytest.raises(SystemExit) as stopped:
        explain(run, "--output", tmp_path / "none", "--image", "c")
    assert stopped.value.code == 2
    assert "a.jpg (id 7), b.jpg (id 9)" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_an_image_that_is_not_there_is_named(
    tmp_path: Path, shapes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = json.loads((shapes / "train.json").read_text())["images"][0]["id"]
    with pytest.raises(SystemExit):
        explain(checkpoint, "--data", shapes, "--split", "train", "--image", there, "nope", "--output", tmp_path)
    assert "split train has no image with the name or id 'nope' (--image)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--pictures", 2), "--pictures goes with a checkpoint"),
        (("--no-what-if",), "--no-what-if goes with a checkpoint"),
        (("--checkpoint-format", "mmdet"), "--checkpoint-format goes with a checkpoint"),
        (("--skip-bad",), "--skip-bad goes with a checkpoint"),
        (("--data", "x"), "--data goes with a checkpoint"),
    ],
)
def test_options_of_a_checkpoint_with_a_run(
    tmp_path: Path, run: Path, option: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        explain(run, *option, "--output", tmp_path / "out")
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
