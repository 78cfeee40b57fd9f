from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import paa
from paa.batch_inference.tables import COLUMNS, detections_of, errors_of
from paa.config import InferenceConfig
from paa.errors import ConfigError
from paa.training.run_folder import save_checkpoint
from paa.weights.formats import own


@pytest.fixture
def detector(checkpoint: Path) -> paa.BatchDetector:
    return paa.BatchDetector(checkpoint, device="cpu")


def test_a_row_for_each_detection(detector: paa.BatchDetector, images: list[str], bad: list[str]) -> None:
    table = detector(pa.table({"image": images}))
    assert tuple(table.column_names) == COLUMNS
    model = paa.load(detector.checkpoint, "cpu").optimise("float32")
    empty = 0
    for image in images:
        rows = table.filter(pa.compute.equal(table["image"], image)).to_pylist()
        if image in bad:
            assert rows == [{**dict.fromkeys(COLUMNS), "image": image, "error": "a text, not an image"}]
            continue
        found = model.predict(image, threshold=0.3)
        height, width = (48, 64) if int(Path(image).stem) % 3 else (64, 48)
        assert {(row["width"], row["height"], row["error"]) for row in rows} == {(width, height, None)}
        if len(found) == 0:
            empty += 1
            assert [(row["score"], row["x1"], row["label"], row["name"]) for row in rows] == [(None,) * 4]
            continue
        assert [(row["score"], row["label"], row["name"]) for row in rows] == [
            (score, label, detector_name)
            for score, label, detector_name in zip(
                found.scores.tolist(), found.labels.tolist(), [name for _, _, name in found]
            )
        ]
        assert [[row[name] for name in ("x1", "y1", "x2", "y2")] for row in rows] == found.boxes.tolist()
    assert table["image"].to_pylist() == sorted(table["image"].to_pylist())  # in the order given
    read = set(detections_of(table)["image"].to_pylist())
    assert read == set(images) - set(bad)
    assert errors_of(table).to_pylist() == [{"image": bad[0], "error": "a text, not an image"}]


def test_an_image_without_detections_has_a_row(checkpoint: Path, images: list[str]) -> None:
    nothing = paa.BatchDetector(checkpoint, InferenceConfig(threshold=1.0), "cpu", batch_size=5)
    table = nothing(pa.table({"image": images}))
    assert table["image"].to_pylist() == images
    assert set(table["score"].to_pylist()) == {None}
    assert [row["width"] is None for row in table.to_pylist()] == [index == 3 for index in range(12)]


@pytest.mark.parametrize("batch_size", [2, 5])
def test_batches_keep_the_order(checkpoint: Path, images: list[str], batch_size: int) -> None:
    alone = paa.BatchDetector(checkpoint, device="cpu")(pa.table({"image": images}))
    together = paa.BatchDetector(checkpoint, device="cpu", batch_size=batch_size)(pa.table({"image": images}))
    assert together["image"].to_pylist() == alone["image"].to_pylist()
    assert together["name"].to_pylist() == alone["name"].to_pylist()


def test_data_frames_and_contents(detector: paa.BatchDetector, images: list[str], bad: list[str]) -> None:
    """A file's content in the table is taken in place of its address, which then is only a name."""
    contents = [Path(image).read_bytes() for image in images]
    expected = detector(pa.table({"image": images}))
    names = [f"row {index:02d}" for index in range(len(images))]
    frame = detector(pd.DataFrame({"image": names, "bytes": contents}))
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == list(COLUMNS)
    assert str(frame["width"].dtype) == "Int32"
    again = pa.Table.from_pandas(frame, preserve_index=False)
    assert again.schema.types == expected.schema.types or again["label"].type == pa.int64()
    assert again["score"].to_pylist() == expected["score"].to_pylist()
    assert frame[frame["error"].notna()]["image"].tolist() == ["row 03"]
    mapping = detector({"image": names[:1], "bytes": [None]})
    assert mapping["error"].to_pylist() == ["no such image"]


def test_settings_alone_are_pickled(detector: paa.BatchDetector, images: list[str]) -> None:
    detector(pa.table({"image": images[:1]}))
    assert len(pickle.dumps(detector)) < 2000
    assert pickle.loads(pickle.dumps(detector)) == detector


def test_what_is_kept(checkpoint: Path, images: list[str]) -> None:
    model = paa.load(checkpoint, "cpu")
    name, other = model.names[:2]
    few = paa.BatchDetector(
        checkpoint, device="cpu", classes=(name, other), thresholds=((name, 0.5), (other, 1.0)), top_k=3
    )
    table = detections_of(few(pa.table({"image": images})))
    assert set(table["name"].to_pylist()) - {None} == {name}
    assert max(table["image"].to_pylist().count(image) for image in images) == 3
    assert min(score for score in table["score"].to_pylist() if score is not None) >= 0.5


def test_a_checkpoint_that_was_replaced_is_loaded(tmp_path: Path, checkpoint: Path, images: list[str]) -> None:
    file = tmp_path / "best.pt"
    shutil.copy(checkpoint, file)
    batch = pa.table({"image": images[:1]})
    before = paa.BatchDetector(file, InferenceConfig(threshold=0.0), "cpu")(batch)
    model = paa.load(checkpoint, "cpu")
    save_checkpoint(file, own.write(model.config, [name.upper() for name in model.names], model.state_dict()))
    after = paa.BatchDetector(file, InferenceConfig(threshold=0.0), "cpu")(batch)
    assert after["label"].to_pylist() == before["label"].to_pylist()
    assert after["name"].to_pylist() == [name.upper() for name in before["name"].to_pylist()]


def test_what_is_no_address_is_one_row(detector: paa.BatchDetector, images: list[str]) -> None:
    content = Path(images[0]).read_bytes()
    given = {
        "image": [images[0], None, 3, "a.png", Path(images[1])],
        "bytes": [bytearray(content), None, None, 2.5, None],
    }
    rows = detector(given).to_pylist()
    errors = {row["image"]: row["error"] for row in rows}
    assert errors == {
        images[0]: None,
        "None": "an address is a text, not of type NoneType",
        "3": "an address is a text, not of type int",
        "a.png": "the content of a file is bytes, not of type float",
        images[1]: None,
    }


def test_lists_and_mappings_do_for_tuples(checkpoint: Path, images: list[str]) -> None:
    name = paa.load(checkpoint, "cpu").names[0]
    given = paa.BatchDetector(checkpoint, device="cpu", classes=[name], thresholds={name: 0.5})  # type: ignore[arg-type]
    same = paa.BatchDetector(checkpoint, device="cpu", classes=(name,), thresholds=((name, 0.5),))
    listed = paa.BatchDetector(checkpoint, device="cpu", classes=[name], thresholds=[[name, 0.5]])  # type: ignore[arg-type,list-item]
    assert given == listed == same
    assert hash(given) == hash(listed) == hash(same)
    assert given(pa.table({"image": images[:2]})) == same(pa.table({"image": images[:2]}))


def test_a_limit_of_pixels_is_one_detectors_own(checkpoint: Path, images: list[str], bad: list[str]) -> None:
    few, any_number = (paa.BatchDetector(checkpoint, device="cpu", max_pixels=most) for most in (3000, None))
    for detector, read in ((few, set()), (any_number, set(images) - set(bad)), (few, set())):
        assert set(detections_of(detector(pa.table({"image": images})))["image"].to_pylist()) == read


def test_what_is_wrong(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=r"a column image, and may have a column bytes; this one has \['path'\]"):
        paa.BatchDetector(checkpoint, device="cpu")(pa.table({"path": ["a.jpg"]}))
    with pytest.raises(ConfigError, match="the batch size must be at least 1, got 0"):
        paa.BatchDetector(checkpoint, batch_size=0)
    with pytest.raises(ConfigError, match="batch_size must be a whole number, got '4'"):
        paa.BatchDetector(checkpoint, batch_size="4")  # type: ignore[arg-type]
    for thresholds in (5, "ab", ["a"], [["a", "b"]], (("a", 1, 2),)):
        with pytest.raises(ConfigError, match="thresholds must be scores by class name, got"):
            paa.BatchDetector(checkpoint, thresholds=thresholds)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a batch of 2 images has 1 contents in its column bytes"):
        paa.BatchDetector(checkpoint, device="cpu")({"image": ["a.jpg", "b.jpg"], "bytes": [None]})
    with pytest.raises(ConfigError, match="the limit of pixels must be at least 1, got 0"):
        paa.BatchDetector(checkpoint, max_pixels=0)
    with pytest.raises(ConfigError, match="--classes: the model has no class cow"):
        paa.BatchDetector(checkpoint, classes=("cow",)).check()


def test_a_text_is_no_list_of_classes(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=r"classes must be a list of names, as \('star',\), got 'star'"):
        paa.BatchDetector(checkpoint, classes="star")  # type: ignore[arg-type]
