"""What a visitor of the page sees, without the page."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paa.errors import ImageError
from paa.predictor import PAA
from paa.serve import album as albums_module
from paa.serve.album import Album, Albums, Choice, WaitedTooLongError
from paa.serve.limits import Limits
from paa.serve.service import Service
from tests.serve.clients import Gate
from tests.serve.test_api import assert_same

CHOICE = Choice(0.3, voting=True)


def batches(service: Service) -> str:
    """Return the line of the metrics that counts how often the network ran."""
    text = service.metrics.text().decode()
    return next((line for line in text.splitlines() if line.startswith("paa_batch_images_count")), "")


def test_the_threshold_moves_without_the_network(service: Service, model: PAA, photos: list[Path]) -> None:
    album = Album(service, CHOICE)
    album.add(photos[:3])
    before = batches(service)
    counts = []
    for choice in (CHOICE, Choice(0.1, True), Choice(0.6, True), Choice(0.1, True, ("star", "square"))):
        album.choose(choice)
        images = album.results().model_dump()["images"]
        counts.append(sum(len(image["detections"]) for image in images))
        for image, path in zip(images, photos):
            found = model.predict(path, threshold=choice.threshold)
            if choice.classes:
                found = found[[name in choice.classes for _, _, name in found]]
            assert_same(json.loads(json.dumps(image)), found)
    assert batches(service) == before != ""
    assert counts[1] > counts[0] > counts[2] > 0
    assert counts[1] > counts[3] > 0


def test_voting_asks_the_network_once_more(service: Service, model: PAA, photos: list[Path]) -> None:
    album = Album(service, CHOICE)
    album.add(photos[:1])
    first = batches(service)
    album.choose(Choice(0.3, voting=False))
    second = batches(service)
    assert first != second
    assert_same(album.results().model_dump()["images"][0], model.predict(photos[0], threshold=0.3, voting=False))
    for voting in (True, False):
        album.choose(Choice(0.3, voting))
    assert batches(service) == second


def test_previews_are_small_and_drawings_are_not(
    service: Service, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(albums_module, "_PREVIEW", 40)
    album = Album(service, CHOICE)
    album.add(photos[:1])
    ((preview, text),) = album.previews()
    assert max(preview.size) == 40
    assert text.startswith(f"{photos[0].name}: ")
    name, data = album.drawings()
    assert name == f"{photos[0].stem}_detections.jpg"
    with Image.open(io.BytesIO(data)) as drawing, Image.open(photos[0]) as original:
        assert drawing.size == original.size
        changed = np.asarray(drawing).astype(int) - np.asarray(original.convert("RGB"))
    assert np.abs(changed).max() > 60  # there are boxes
    assert preview.size != drawing.size


def test_drawings_of_several_images_are_an_archive(service: Service, photos: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other" / photos[0].name
    other.parent.mkdir()
    shutil.copy(photos[1], other)
    album = Album(service, CHOICE)
    album.add([photos[0], other])
    name, data = album.drawings()
    assert name == "detections.zip"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        stem = photos[0].stem
        assert archive.namelist() == [f"{stem}_detections.jpg", f"2_{stem}_detections.jpg"]
        sizes = [Image.open(io.BytesIO(archive.read(each))).size for each in archive.namelist()]
    with Image.open(photos[0]) as first, Image.open(photos[1]) as second:
        assert sizes == [first.size, second.size]


def test_no_drawing_takes_the_place_of_another(service: Service, photos: list[Path], tmp_path: Path) -> None:
    same, odd = tmp_path / photos[0].name, tmp_path / f"2_{photos[0].name}"
    for copy in (same, odd):
        shutil.copy(photos[0], copy)
    album = Album(service, CHOICE)
    album.add([photos[0], same, odd])
    with zipfile.ZipFile(io.BytesIO(album.drawings()[1])) as archive:
        assert len(set(archive.namelist())) == 3


def test_a_bad_image_adds_nothing(service: Service, photos: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    album = Album(service, CHOICE)
    with pytest.raises(ImageError, match=r"^bad.png: a text, not an image$"):
        album.add([photos[0], bad])
    assert len(album) == 0


def test_a_choice_that_cannot_be_shown_is_not_made(
    model: PAA, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(model, "m", Limits(timeout=0.2))
    album = Album(service, CHOICE)
    album.add(photos[:1])
    gate = Gate(monkeypatch)
    with pytest.raises(WaitedTooLongError):
        album.choose(Choice(0.9, voting=False))
    assert album.choice == CHOICE
    assert len(album.previews()) == 1
    gate.open.set()
    service.close()


def test_the_oldest_albums_are_forgotten(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(albums_module, "_MOST_ALBUMS", 2)
    albums = Albums(service)
    (first, _), (second, _) = albums.new(CHOICE), albums.new(CHOICE)
    assert albums.find(first) is not None  # so that it is the younger one
    third, _ = albums.new(CHOICE)
    assert albums.find(second) is None
    assert None not in (albums.find(first), albums.find(third))
    assert len({first, second, third}) == 3
    assert min(map(len, (first, second, third))) > 20
    assert albums.find("") is None
