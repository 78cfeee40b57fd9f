"""paa data stats and paa data view, and the group itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from paa.commands.main import main
from paa.data.read import read_dataset


def error(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["data", *map(str, arguments)])
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_stats(tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "stats", str(shapes), "--json"])
    numbers = json.loads(capsys.readouterr().out)
    index = read_dataset(shapes, "train")
    assert list(numbers) == ["train", "val"]
    assert numbers["train"]["all"]["objects"] == len(index.boxes)
    main(["data", "stats", str(shapes), "--output", str(tmp_path / "stats")])
    out = capsys.readouterr().out
    for word in (*index.names, "(all)", "train", "val", "width/height", f"written to {tmp_path}/stats"):
        assert word in out
    assert json.loads((tmp_path / "stats" / "stats.json").read_text()) == numbers
    assert "| circle" in (tmp_path / "stats" / "stats.md").read_text()
    names = {"stats.json", "stats.md", "stats.png"}
    assert {file.name for file in (tmp_path / "stats").iterdir()} == names


def test_the_tables_fit_a_terminal(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "stats", str(shapes)])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_view_of_images_that_cannot_be_decoded(
    tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(shapes, tmp_path / "shapes")
    files = sorted((folder / "images").iterdir())
    for file in files[1:]:
        file.write_bytes(file.read_bytes()[:800])  # of which the header can be read
    view = ("data", "view", str(folder), "--output", str(tmp_path / "s.jpg"))
    assert "000" in error(capsys, *view[1:])
    main([*view, "--skip-bad"])
    printed = capsys.readouterr()
    assert "written to" in printed.out
    assert printed.err.count("left out: ") == len(files) - 1
    (tmp_path / "s.jpg").unlink()
    files[0].write_bytes(files[0].read_bytes()[:800])
    main([*view, "--skip-bad"])
    assert not (tmp_path / "s.jpg").exists()


def test_view(tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "view", str(shapes), "--output", str(tmp_path / "new" / "s.jpg"), "--most", "4", "--sheets", "2"])
    out = capsys.readouterr().out.splitlines()
    files = [tmp_path / "new" / name for name in ("s.jpg", "s-2.jpg")]
    assert out == [f"written to {files[0]}", f"written to {files[1]}", "8 of 10 images"]
    assert {Image.open(file).format for file in files} == {"JPEG"}
    main(["data", "view", str(shapes), "--output", str(tmp_path / "s.png"), "--classes", "star", "--splits", "train"])
    index = read_dataset(shapes, "train")
    stars = sum(3 in index.targets(i)[1] for i in range(len(index)))
    assert 0 < stars < len(index)
    assert capsys.readouterr().out.splitlines()[-1] == f"{stars} of {stars} images"
    assert Image.open(tmp_path / "s.png").format == "PNG"


def test_view_overwrites_no_image_of_the_data_set(
    tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(shapes, tmp_path / "shapes")
    (tmp_path / "link").symlink_to(folder)
    image = min((folder / "images").iterdir())
    before = image.read_bytes()
    in_val = {image["file_name"] for image in json.loads((folder / "val.json").read_text())["images"]}
    assert image.name not in in_val
    for sheet in (image, tmp_path / "link" / "images" / image.name):
        for of in ([], ["--splits", "val"]):
            said = error(capsys, "view", folder, *of, "--output", sheet)
            assert f"{sheet}: may be an image of the data set; give the sheet another --output" in said
    assert image.read_bytes() == before


def test_errors(tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view = ("view", shapes, "--output", tmp_path / "s.jpg")
    assert "no class 'cat': the data set has circle" in error(capsys, *view, "--classes", "cat")
    assert "no image is as --classes" in error(capsys, *view, "--least-side", "9999")
    assert "--most must be from 1 to 1000, got 0" in error(capsys, *view, "--most", "0")
    assert "less than 50 pixels an image" in error(capsys, *view, "--columns", "40")
    assert "--output must end in .jpg" in error(capsys, "view", shapes, "--output", tmp_path / "s.gif")
    assert "no such file or folder" in error(capsys, "stats", tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_the_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in (["data"], 2), (["data", "--help"], 0), (["data", "help"], 0):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == code
        printed = capsys.readouterr()
        text = printed.err if code else printed.out
        assert all(f"  paa data {name} PATH" in text for name in ("check", "convert", "split", "stats", "view"))
    assert error(capsys, "chek").startswith("paa: error: unknown command 'data chek'; known: train, ")
