"""paa data split: splits without leaks, and what is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paa.commands.main import main
from paa.data.read import read_dataset
from paa.data.shapes import make_shapes
from paa.errors import DataError
from tests.data.data_files import shared


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of 30 images."""
    return make_shapes(tmp_path_factory.mktemp("shapes"), 30, size=(64, 80))


def split(source: Path, output: Path, *options: str) -> dict[str, list[str]]:
    """Run the command on both splits; return the names of each new split."""
    main(["data", "split", str(source), str(output), "--splits", "train", "val", *options])
    names = sorted(file.stem for file in output.glob("*.json"))
    with pytest.raises(DataError, match="--allow-outside"):
        read_dataset(output, names[0])
    splits = {name: read_dataset(output, name, allow_outside=[source]) for name in names}
    return {name: [index.path(i).name for i in range(len(index))] for name, index in splits.items()}


def test_shares(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = split(source, tmp_path / "new", "--val-fraction", "0.2", "--test-fraction", "0.1")
    out = capsys.readouterr().out
    total = sum(map(len, splits.values()))
    assert list(splits) == ["test", "train", "val"]
    assert len(splits["val"]) == pytest.approx(0.2 * total, abs=1.5)
    assert total == 30
    assert "30 images in 30 groups that stay together, the largest of 1" in out
    for text in (
        "(images)",
        "circle",
        "star",
        "train",
        "val",
        "test",
        "%)",
        f"written to {tmp_path}/new",
        f"add --allow-outside {source}/images",
    ):
        assert text in out
    assert splits == split(source, tmp_path / "again", "--val-fraction", "0.2", "--test-fraction", "0.1")
    assert splits != split(source, tmp_path / "other", "--val-fraction", "0.2", "--test-fraction", "0.1", "--seed", "1")


def test_splits_that_are_not_divided_are_named(tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture) -> None:
    said = "not divided, and not in .*: val; --splits train val takes all"
    main(["data", "split", str(source), str(tmp_path / "one"), "--no-similar"])
    assert re.search(said, caplog.text)
    caplog.clear()
    main(["data", "split", str(source), str(tmp_path / "all"), "--no-similar", "--splits", "train", "val"])
    assert "not divided" not in caplog.text


def test_groups_of_names(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = split(source, tmp_path / "new", "--group", r"000(\d\d)\d", "--val-fraction", "0.3", "--no-similar")
    tens = {name: {file[3:5] for file in files} for name, files in splits.items()}
    assert not tens["train"] & tens["val"]
    assert "in 3 groups that stay together" in capsys.readouterr().out


def test_equal_images_stay_together(tmp_path: Path) -> None:
    """The raccoons' own splits have five leaks; new ones have none, whatever the seed."""
    folder = shared("raccoon")
    pairs = [(98, 65), (83, 120), (21, 45), (52, 50), (51, 85), (52, 74), (11, 116)]
    for seed in range(4):
        splits = split(folder, tmp_path / str(seed), "--val-fraction", "0.4", "--seed", str(seed))
        for a, b in pairs:
            sides = [f"raccoon-{number}.jpg" in splits["val"] for number in (a, b)]
            assert sides[0] == sides[1]
        apart = split(folder, tmp_path / f"{seed}-apart", "--val-fraction", "0.4", "--seed", str(seed), "--no-similar")
        assert apart != splits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--val-fraction", "1"], "--val-fraction must be from 0 to below 1, got 1"),
        (["--val-fraction", "0"], "leave nothing to divide"),
        (["--val-fraction", "0.6", "--test-fraction", "0.5"], "leave nothing to train on"),
        (["--group", "x"], "--group 'x': has no group"),
        (["--splits", "dev"], "no COCO annotations for 'dev'"),
        (["--val-fraction", "0.001"], "no images are left for 'val'"),
    ],
)
def test_errors(
    tmp_path: Path, source: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["data", "split", str(source), str(tmp_path / "new"), *options])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "new").exists()


def test_an_image_that_cannot_be_decoded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_shapes(tmp_path / "shapes", 12, size=(64, 80))
    file = folder / "images" / "000002.jpg"
    file.write_bytes(file.read_bytes()[:800])
    with pytest.raises(SystemExit):
        main(["data", "split", str(folder), str(tmp_path / "new"), "--val-fraction", "0.3"])
    assert f"{file}: " in capsys.readouterr().err.splitlines()[-1]

    def images_of(name: str, *options: str) -> int:
        main(["data", "split", str(folder), str(tmp_path / name), "--val-fraction", "0.3", *options])
        return sum(len(read_dataset(tmp_path / name, part, allow_outside=[tmp_path])) for part in ("train", "val"))

    assert images_of("all", "--no-similar") == 9
    capsys.readouterr()
    assert images_of("rest", "--skip-bad") == 8
    assert f"left out: {file}: " in capsys.readouterr().err
