from __future__ import annotations

import csv
import json
import os
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import paa
from paa import PAA
from paa.config import InferenceConfig, PredictionOutput
from paa.data.images.read import read_image
from paa.data.images.rgb import Rgb
from paa.errors import ConfigError, ImageError, RunError
from paa.inference.sources import Named
from paa.report.outputs.entry import Entry
from paa.report.predictions import _unique_names, write_predictions


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> PAA:
    return paa.load(checkpoint, "cpu")


@pytest.fixture
def images(tmp_path: Path, shapes: Path) -> list[Path]:
    """Return images of which two share their name, and a third has the name that the second's drawing would get."""
    paths = [tmp_path / "in" / name for name in ("x/a.jpg", "y/a.jpg", "y/a-2.jpg", "y/a.png")]
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(shapes / "images" / f"00000{i}.jpg") as image:
            image.save(path)
    return paths


def named(paths: list[Path]) -> list[Named]:
    return [Named(str(path)) for path in paths]


def test_files(tmp_path: Path, model: PAA, images: list[Path]) -> None:
    out = tmp_path / "out" / "deep"
    heard: list[tuple[str, int]] = []
    inference = InferenceConfig(threshold=0.35)
    counts, left_out = write_predictions(
        model.train(),
        named(images),
        out,
        inference,
        listen=lambda entry: heard.append((entry.file, len(entry.detections))),
    )
    text = (out / "detections.json").read_text()
    records = json.loads(text)
    assert text == json.dumps(records, indent=1) + "\n"
    assert [record["file"] for record in records] == [str(path) for path in images]
    assert len({record["drawn"] for record in records}) == 4
    assert {path.name for path in out.iterdir()} == {"detections.json", *(record["drawn"] for record in records)}
    assert counts == [len(record["detections"]) for record in records]
    assert heard == list(zip(map(str, images), counts))
    assert left_out == []
    assert sum(counts) > 0
    for path, record in zip(images, records):
        expected = model.eval().predict(path, threshold=0.35)
        assert record["detections"] == expected.to_dicts()
        with Image.open(path) as before, Image.open(out / record["drawn"]) as after:
            assert (record["width"], record["height"]) == before.size == after.size
            difference = np.abs(np.asarray(before.convert("RGB"), int) - np.asarray(after.convert("RGB"), int))
        assert (difference.max() > 60) == (len(expected) > 0)  # boxes are drawn, if there are any


def test_batches(tmp_path: Path, model: PAA, images: list[Path]) -> None:
    several = [*images, *images] * 3
    for batch_size in (1, 3):
        write_predictions(model, named(several), tmp_path / str(batch_size), batch_size=batch_size)
    one, three = ((tmp_path / name / "detections.json").read_text() for name in ("1", "3"))
    assert [record["drawn"] for record in json.loads(one)] == [record["drawn"] for record in json.loads(three)]
    assert len({record["drawn"] for record in json.loads(three)}) == 24


def test_threshold(tmp_path: Path, model: PAA, images: list[Path]) -> None:
    every, _ = write_predictions(model, named(images[:1]), tmp_path / "0")
    none, _ = write_predictions(model, named(images[:1]), tmp_path / "1", InferenceConfig(threshold=1))
    assert every[0] > 10
    assert none == [0]


def test_images_are_never_overwritten(tmp_path: Path, model: PAA, images: list[Path]) -> None:
    before = [path.read_bytes() for path in images]
    link = tmp_path / "link"
    link.symlink_to(images[0].parent)
    for folder in (images[0].parent, images[1].parent, link):
        with pytest.raises(ConfigError, match="would be overwritten by its drawing; give another --output"):
            write_predictions(model, named(images), folder)
    assert [path.read_bytes() for path in images] == before


def test_other_images_in_the_output_folder_are_never_overwritten(
    tmp_path: Path, model: PAA, images: list[Path]
) -> None:
    out = tmp_path / "photos"
    out.mkdir()
    theirs, unlike = out / "a-2.jpg", tmp_path / "b.jpg"
    unlike.write_bytes(images[0].read_bytes())
    Image.new("RGB", (9, 9)).save(theirs)
    before = theirs.read_bytes()
    write_predictions(model, named(images[:1]), out)
    for given in (images[2:3], images):
        with pytest.raises(ConfigError, match=f"{theirs}: is not of an earlier prediction; give another --output"):
            write_predictions(model, named(given), out)
    write_predictions(model, named([unlike]), out)
    write_predictions(model, named(images[:1]), out)  # over its own, which detections.json does not name any more
    assert theirs.read_bytes() == before


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("bad", [(1,), (0, 3), (1, 2, 3)])
def test_an_image_that_cannot_be_read(
    tmp_path: Path, model: PAA, images: list[Path], bad: tuple[int, ...], batch_size: int
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "detections.json").write_text("[]")
    (out / "left_out.txt").write_text("of an earlier run")
    for i in bad:
        images[i].write_bytes(images[i].read_bytes()[:500])
    counts, left_out = write_predictions(model, named(images), out, batch_size=batch_size)
    good = [str(path) for i, path in enumerate(images) if i not in bad]
    records = json.loads((out / "detections.json").read_text())
    assert [record["file"] for record in records] == good
    assert len(counts) == len(good)
    assert [line.split(": ")[0] for line in left_out] == [str(images[i]) for i in bad]
    assert (out / "left_out.txt").read_text().splitlines() == left_out
    write_predictions(model, named([Path(path) for path in good]), out)
    assert not (out / "left_out.txt").exists()


def test_nothing_that_can_be_read(tmp_path: Path, model: PAA, images: list[Path]) -> None:
    for path in images:
        path.write_bytes(b"")
    for given, message in ((images, "none of the 4 images can be read; the first: .*: an empty"), (images[:1], "^/")):
        with pytest.raises(ImageError, match=message):
            write_predictions(model, named(given), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_done_stays_when_the_rest_fails(tmp_path: Path, model: PAA, images: list[Path]) -> None:
    """Whatever ends it, detections.json is whole after every image, and so are each drawing and left_out.txt."""
    images[0].write_bytes(b"")
    seen: list[int] = []

    def listen(entry: Entry) -> None:
        records = json.loads((tmp_path / "detections.json").read_text())
        seen.append(len(records))
        for record in records:
            with Image.open(tmp_path / record["drawn"]) as drawn:
                drawn.load()
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_predictions(model, named([*images, *images]), tmp_path, listen=listen)
    assert seen == [1, 2, 3]
    assert (tmp_path / "left_out.txt").read_text() == f"{images[0]}: an empty file\n"
    assert len(json.loads((tmp_path / "detections.json").read_text())) == 3
    assert not list(tmp_path.glob("*.tmp"))


def test_memory_does_not_grow_with_the_images(
    tmp_path: Path, model: PAA, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No image is kept once its files are written."""
    read: list[weakref.ref[Rgb]] = []
    alive: list[int] = []

    def spy(path: Path) -> Rgb:
        alive.append(sum(image() is not None for image in read))
        image = read_image(path)
        read.append(weakref.ref(image))
        return image

    monkeypatch.setattr("paa.inference.sources.read_image", spy)
    write_predictions(model, named(images * 10), tmp_path)
    assert len(alive) == 40
    assert max(alive) <= 2


def test_every_output_holds_the_detections(tmp_path: Path, model: PAA, images: list[Path]) -> None:
    arrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an extra")
    inference, out = InferenceConfig(threshold=0.3), tmp_path / "out"
    write_predictions(model, named(images), out, inference, save=("coco", "yolo", "csv", "parquet", "csv"))
    records = json.loads((out / "detections.json").read_text())
    assert [record["drawn"] for record in records] == [None] * 4
    assert {path.name for path in out.iterdir()} == {
        *("detections.json", "results.json", "labels", "classes.txt", "detections.csv", "detections.parquet")
    }
    expected = {path: model.predict(path, threshold=0.3) for path in images}
    every = [(str(path), *one) for path, found in expected.items() for one in found]
    assert len({path for path, *_ in every}) > 1

    results = json.loads((out / "results.json").read_text())
    assert results == [result for path, found in expected.items() for result in found.to_coco(str(path), found.names)]
    assert len(results) == len(every)

    with (out / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = arrow.read_table(out / "detections.parquet").to_pylist()
    assert list(rows[0]) == list(table[0])
    for given in (rows, table):
        assert [(row["file"], row["name"]) for row in given] == [(path, name) for path, _, _, name in every]
        boxes = np.array([[row[side] for side in ("x1", "y1", "x2", "y2")] for row in given], np.float32)
        assert np.array_equal(boxes, np.array([box for _, box, _, _ in every]))
        assert [float(row["score"]) for row in given] == [score for _, _, score, _ in every]
        assert {(int(row["width"]), int(row["height"])) for row in given} == {
            (r["width"], r["height"]) for r in records
        }

    assert (out / "classes.txt").read_text().splitlines() == list(model.names)
    assert {path.name for path in (out / "labels").glob("*.txt")} == {"a.txt", "a-2.txt", "a-2-2.txt", "a-3.txt"}
    for stem, record, found in zip(("a", "a-2", "a-2-2", "a-3"), records, expected.values()):
        text = (out / "labels" / f"{stem}.txt").read_text()
        values = np.array([line.split() for line in text.splitlines()], np.float64).reshape(-1, 5)
        centres, sides = (part * (record["width"], record["height"]) for part in (values[:, 1:3], values[:, 3:]))
        assert values[:, 0].tolist() == found.labels.tolist()
        np.testing.assert_allclose(np.hstack([centres - sides / 2, centres + sides / 2]), found.boxes, atol=1e-9)


def test_only_the_json(tmp_path: Path, model: PAA, images: list[Path]) -> None:
    """Images in the output's folder are not in danger where nothing is drawn."""
    before = images[0].read_bytes()
    write_predictions(model, named(images[:1]), images[0].parent, save=())
    assert {path.name for path in images[0].parent.iterdir()} == {"a.jpg", "detections.json"}
    assert images[0].read_bytes() == before


@pytest.mark.parametrize(("output", "file"), [("yolo", "labels"), ("yolo", "classes.txt"), ("coco", "results.json")])
def test_files_of_a_data_set_are_never_overwritten(
    tmp_path: Path, model: PAA, images: list[Path], output: PredictionOutput, file: str
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / file).mkdir() if file == "labels" else (folder / file).write_text("by hand")
    with pytest.raises(ConfigError, match=f"{file}: is not of an earlier prediction"):
        write_predictions(model, named(images[:1]), folder, save=(output,))
    assert [path.name for path in folder.iterdir()] == [file]
    other = tmp_path / "new"
    for _ in range(2):  # those of an earlier prediction are
        write_predictions(model, named(images[:1]), other, save=(output,))


def test_outputs_of_a_run_that_is_stopped(tmp_path: Path, model: PAA, images: list[Path]) -> None:
    """CSV and COCO results hold the images so far; Parquet, which would be unreadable, is not there."""
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    heard: list[int] = []

    def listen(entry: Entry) -> None:
        heard.append(len(entry.detections))
        assert len(json.loads((tmp_path / "results.json").read_text())) == sum(heard)
        assert len((tmp_path / "detections.csv").read_text().splitlines()) == sum(heard) + 1
        if len(heard) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_predictions(model, named(images), tmp_path, save=("coco", "csv", "parquet"), listen=listen)
    assert sum(heard) > 20
    assert not list(tmp_path.glob("*.parquet*"))


def test_no_detection_at_all(tmp_path: Path, model: PAA, images: list[Path]) -> None:
    arrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an extra")
    none = InferenceConfig(threshold=1)
    write_predictions(model, named(images), tmp_path, none, save=("coco", "yolo", "csv", "parquet"))
    assert (tmp_path / "results.json").read_text() == "[]\n"
    assert len((tmp_path / "detections.csv").read_text().splitlines()) == 1
    assert arrow.read_table(tmp_path / "detections.parquet").num_rows == 0
    assert [path.read_text() for path in (tmp_path / "labels").glob("*.txt")] == [""] * 4


def test_without_pyarrow(tmp_path: Path, model: PAA, images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"--save parquet: pyarrow is not installed: pip install 'paa\[parquet\]'"):
        write_predictions(model, named(images), tmp_path / "out", save=("parquet",))
    assert not (tmp_path / "out").exists()


def test_many_files_of_one_name() -> None:
    names = _unique_names([*["a"] * 20_000, "a-2", "b"])
    assert names[:3] == ["a", "a-2", "a-3"]
    assert names[-2:] == ["a-2-2", "b"]
    assert len(set(names)) == len(names)


def test_a_folder_that_is_a_file(model: PAA, images: list[Path]) -> None:
    with pytest.raises(RunError, match="is not a writable folder"):
        write_predictions(model, named(images), images[0])


def test_labels_of_other_classes_are_never_joined(tmp_path: Path, model: PAA, images: list[Path]) -> None:
    write_predictions(model, named(images[:1]), tmp_path / "out", save=("yolo",))
    other = PAA(model.config, ("bird", *model.names[1:])).eval()
    with pytest.raises(ConfigError, match=r"classes\.txt: the labels there are of other classes"):
        write_predictions(other, named(images[1:2]), tmp_path / "out", save=("yolo",))
    assert (tmp_path / "out" / "classes.txt").read_text().splitlines() == list(model.names)
    write_predictions(other, named(images[1:2]), tmp_path / "out", save=("csv",))


def test_labels_that_a_person_changed_stay(tmp_path: Path, model: PAA, images: list[Path]) -> None:
    write_predictions(model, named(images[:2]), tmp_path / "out", save=("yolo",))
    label = tmp_path / "out" / "labels" / "a-2.txt"
    write_predictions(model, named(images[:2]), tmp_path / "out", save=("yolo",))  # as often as one wants
    predicted = label.stat().st_mtime
    label.write_text("2 0.5 0.5 0.1 0.1\n")
    os.utime(label, (predicted + 60, predicted + 60))
    with pytest.raises(ConfigError, match=r"labels/a-2\.txt: was changed after it was predicted"):
        write_predictions(model, named(images[:1]), tmp_path / "out", save=("yolo",))
    assert label.read_text() == "2 0.5 0.5 0.1 0.1\n"


def test_a_line_for_each_class(tmp_path: Path, model: PAA, images: list[Path]) -> None:
    names = ("a\n", "b\r\nc", *model.names[2:])
    write_predictions(PAA(model.config, names).eval(), named(images[:1]), tmp_path / "out", save=("yolo",))
    listed = (tmp_path / "out" / "classes.txt").read_text().splitlines()
    assert listed == ["a", "b c", *model.names[2:]]


def test_names_of_files_stay_in_their_line(tmp_path: Path, model: PAA, images: list[Path]) -> None:
    bad = tmp_path / "in" / "bad\nname\x1b[31m.jpg"
    bad.write_text("no image")
    written = write_predictions(model, named([images[0], bad]), tmp_path / "out")
    (line,) = (tmp_path / "out" / "left_out.txt").read_text().splitlines()
    assert written.left_out == [line]
    assert r"bad\nname\x1b[31m.jpg: " in line


def test_an_earlier_prediction_does_not_make_other_files_its_own(
    tmp_path: Path, model: PAA, images: list[Path]
) -> None:
    write_predictions(model, named(images[:1]), tmp_path, save=("csv",))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    (tmp_path / "classes.txt").write_text("".join(f"{name}\n" for name in model.names))
    (tmp_path / "results.json").write_text('[{"image_id": 1, "category_id": 1}]')
    (tmp_path / "detections.parquet").write_text("no table")
    evaluation = tmp_path / "evaluation"
    write_predictions(model, named(images[:1]), evaluation, save=("csv",))
    (evaluation / "metrics.json").write_text("{}")
    (evaluation / "results.json").write_text('[{"image_id": "a.jpg"}]')  # of a data set without ids
    with pytest.raises(ConfigError, match=r"results\.json: is not of an earlier prediction"):
        write_predictions(model, named(images[:1]), evaluation, save=("coco",))
    outputs: list[tuple[PredictionOutput, str]] = [
        ("yolo", "classes.txt"),
        ("coco", "results.json"),
        ("parquet", "detections.parquet"),
    ]
    for output, file in outputs:
        with pytest.raises(ConfigError, match=f"{file}: is not of an earlier prediction"):
            write_predictions(model, named(images[:1]), tmp_path, save=(output,))
    assert (tmp_path / "labels" / "a.txt").read_text() == "0 0.5 0.5 0.1 0.1"
    write_predictions(model, named(images[:1]), tmp_path, save=("csv", "images"))


def test_a_file_of_somebody_elses_stays(tmp_path: Path, model: PAA, images: list[Path]) -> None:
    (tmp_path / "detections.json").write_text('{"mine": 1}')
    with pytest.raises(ConfigError, match=r"detections\.json: is not of an earlier prediction"):
        write_predictions(model, named(images[:1]), tmp_path, save=())
    assert (tmp_path / "detections.json").read_text() == '{"mine": 1}'
    listed = tmp_path / "run" / "left_out.txt"
    listed.parent.mkdir()
    listed.write_text("of a run")
    with pytest.raises(ConfigError, match=r"left_out\.txt: is not of an earlier prediction"):
        write_predictions(model, named(images[:1]), listed.parent, save=())
    assert listed.read_text() == "of a run"
