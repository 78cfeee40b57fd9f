"""paa data convert: what is written and printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from paa.commands.main import main
from paa.data.read import read_dataset
from tests.data.data_files import box, coco_json


def test_convert(tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "convert", str(shapes), str(tmp_path / "new"), "--to", "voc"])
    out = capsys.readouterr().out.splitlines()
    index = read_dataset(shapes, "train")
    assert out[0] == f"train: 8 images, {len(index.boxes)} objects"
    assert out[2].startswith("VOC cannot hold: ")
    assert "the ids of images" in out[2]
    assert out[3] == f"written to {tmp_path}/new"
    assert read_dataset(tmp_path / "new", "train").boxes.tolist() == index.boxes.tolist()
    main(["data", "convert", str(tmp_path / "new"), str(tmp_path / "back"), "--to", "coco", "--splits", "val"])
    assert capsys.readouterr().out.splitlines()[1:] == [f"written to {tmp_path}/back"]
    assert not (tmp_path / "back" / "annotations" / "instances_train.json").exists()


def test_crowds_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = coco_json(tmp_path / "train.json", [box(1, 1, (0, 0, 9, 9), iscrowd=1), box(2, 2, (0, 0, 9, 9), 7)])
    main(["data", "convert", str(path), str(tmp_path / "new"), "--to", "yolo", "--files", "link"])
    out = capsys.readouterr().out.splitlines()
    assert out[1] == "YOLO cannot hold: 1 object of crowds or difficult, which are left out; the ids of classes"
    assert (tmp_path / "new" / "images" / "train" / "1.png").is_symlink()
    assert out[-1] == f"its images stay in {tmp_path}/images: to read it, add --allow-outside {tmp_path}/images"


def test_errors(tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = coco_json(tmp_path / "train.json", [box(1, 1, (0, 0, -9, 9)), box(2, 2, (0, 0, 9, 9), 7)])
    for arguments, message in (
        ([shapes, tmp_path], "exists already, and is not overwritten; name a new folder"),
        ([path, tmp_path / "new"], "annotation 1 (image 1) has width -9; fix it, or go on without it: --skip-bad"),
        ([tmp_path / "nowhere", tmp_path / "new"], "no such file or folder"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["data", "convert", *map(str, arguments), "--to", "yolo"])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
        assert not (tmp_path / "new").exists()
    main(["data", "convert", str(path), str(tmp_path / "new"), "--to", "yolo", "--skip-bad"])
    assert (tmp_path / "new" / "labels" / "train" / "1.txt").read_text() == ""
