from __future__ import annotations

import errno
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from paa.batch_inference import addresses
from paa.batch_inference.addresses import find_addresses, hash_of, read_address
from paa.config import FetchConfig
from paa.data.images import read as images_read
from paa.data.images.read import read_image
from paa.errors import ConfigError, DataError, ImageError, RunError, TooManyBytesError
from tests.weights.servers import file, serve


@pytest.fixture
def store(photos: Path) -> Iterator[Any]:
    """Yield fsspec's store in memory with the images in photos/ and one deeper, and something else beside them."""
    memory = fsspec.filesystem("memory")
    for path in photos.iterdir():
        memory.pipe_file(f"/photos/{path.name}", path.read_bytes())
    memory.pipe_file("/photos/deep/er/a.PNG", (photos / "05.png").read_bytes())
    memory.pipe_file("/photos/readme.txt", b"text")
    yield memory
    memory.rm("/photos", recursive=True)


def test_local_addresses(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    everything = sorted(str(path) for path in photos.iterdir())
    assert find_addresses(["."]) == everything
    assert find_addresses(["*.png", "05.png", str(photos / "05.png")]) == [str(photos / "05.png")]  # once
    assert find_addresses([], ["none.jpg"]) == [str(photos / "none.jpg")]  # not looked for


def test_addresses_in_a_store(store: Any, photos: Path) -> None:
    names = [f"memory://photos/{path.name}" for path in sorted(photos.iterdir())]
    found = find_addresses(["memory://photos"])
    assert [address.replace(":///", "://") for address in found] == [*names, "memory://photos/deep/er/a.PNG"]
    assert len(find_addresses(["memory://photos/0*.jpg"])) == 9
    assert find_addresses([names[0]], [names[1], "https://example.com/a.jpg"]) == [
        "https://example.com/a.jpg",
        *names[:2],
    ]
    np.testing.assert_array_equal(read_address(found[0]), read_image(photos / "00.jpg"))


def test_a_store_is_looked_through_as_a_disk_is(store: Any, photos: Path) -> None:
    """Hidden files are left out, images that cannot be decoded here are taken, and a name may look like a pattern."""
    image = (photos / "05.png").read_bytes()
    for name in ("new/a[1].png", "new/b.jxl", "new/.c.png", "new/.thumbnails/d.png"):
        store.pipe_file(f"/photos/{name}", image)
    found = [address.rpartition("new/")[2] for address in find_addresses(["memory://photos/new"])]
    assert found == ["a[1].png", "b.jxl"]
    assert find_addresses(["memory://photos/new/a[1].png"]) == ["memory://photos/new/a[1].png"]
    for pattern, fitting in (("*.png", ["a[1].png"]), (".*.png", [".c.png"]), ("*", ["a[1].png", "b.jxl"])):
        found = find_addresses([f"memory://photos/new/{pattern}"])
        assert [address.rpartition("new/")[2] for address in found] == fitting


def test_a_chain(photos: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(photos / "05.png", "inside/a.png")
        archive.writestr("readme.txt", "text")
    (found,) = find_addresses([f"zip://inside::{tmp_path}/photos.zip"])
    assert found == f"zip://inside/a.png::{tmp_path}/photos.zip"
    np.testing.assert_array_equal(read_address(found), read_image(photos / "05.png"))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("memory://none", DataError, r"^memory://none: no such file or folder$"),
        ("memory://photos/*.gif", DataError, r"^memory://photos/\*\.gif: no images here \("),
        ("nowhere://a/b.jpg", ConfigError, r"^nowhere://a/b\.jpg: Protocol not known: nowhere$"),
        ("s3://bucket/folder", ConfigError, r"^s3://bucket/folder: .*: pip install s3fs$"),
        ("none.jpg", DataError, r"^none\.jpg: no such file or folder$"),
    ],
)
def test_addresses_that_lead_nowhere(
    given: str, error: type[Exception], message: str, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(error, match=message):
        find_addresses([given])
    if error is ConfigError:  # in a list too, where nothing is looked for
        with pytest.raises(error, match=message):
            find_addresses([], [given])


def test_errors_of_one_image(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, message in (
        ("none.jpg", "no such image"),
        ("03.jpg", "a text, not an image"),
        ("deep", "no such image"),
    ):
        with pytest.raises(ImageError, match=f"^memory://photos/{name}: {message}$"):
            read_address(f"memory://photos/{name}")
    with pytest.raises(TooManyBytesError, match=r"00\.jpg: more than 1\.0 kB; --url\.max-mb N allows more"):
        read_address("memory://photos/00.jpg", FetchConfig(max_mb=1 / 1024))
    monkeypatch.setattr(type(store), "cat_file", forbidden)
    with pytest.raises(ImageError, match=r"^memory://photos/00\.jpg: Forbidden$"):
        read_address("memory://photos/00.jpg")


def test_an_empty_file_of_which_a_store_gives_no_range(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def cat_file(self: Any, path: str, start: int | None = None, end: int | None = None) -> bytes:
        if start is not None or end is not None:
            raise OSError(errno.EINVAL, "The requested range is not satisfiable")
        return b""

    monkeypatch.setattr(type(store), "cat_file", cat_file)
    with pytest.raises(ImageError, match=r"^memory://photos/00\.jpg: an empty file"):
        read_address("memory://photos/00.jpg")


def forbidden(*arguments: object, **options: object) -> bytes:
    raise PermissionError("Forbidden")


def test_a_store_that_fails_is_tried_again(store: Any, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be away for a moment; where it stays away, no image after that could be read either."""
    working, failures, pauses = type(store).cat_file, [ConnectionError("reset")] * 2, list[float]()

    def failing(self: Any, *arguments: Any, **options: Any) -> bytes:
        if failures:
            raise failures.pop()
        return working(self, *arguments, **options)  # type: ignore[no-any-return]

    monkeypatch.setattr(type(store), "cat_file", failing)
    monkeypatch.setattr(addresses.time, "sleep", pauses.append)
    np.testing.assert_array_equal(read_address("memory://photos/00.jpg"), read_image(photos / "00.jpg"))
    assert pauses == [2.0, 4.0]
    failures += [ConnectionError("reset by peer")] * 3
    with pytest.raises(
        RunError, match=r"^memory://photos/00\.jpg: cannot be read, in 3 tries: reset by peer; the same"
    ):
        read_address("memory://photos/00.jpg")


@pytest.mark.parametrize(
    ("number", "ends"), [(errno.ESTALE, RunError), (errno.EMFILE, RunError), (errno.EIO, ImageError)]
)
def test_a_disk_of_the_network_is_tried_again(
    photos: Path, monkeypatch: pytest.MonkeyPatch, number: int, ends: type[Exception]
) -> None:
    failures, pauses = [OSError(number, "away")] * 2, list[float]()
    working = images_read._decoded

    def failing(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return working(*arguments)

    monkeypatch.setattr(images_read, "_decoded", failing)
    monkeypatch.setattr(addresses.time, "sleep", pauses.append)
    assert read_address(str(photos / "00.jpg")).ndim == 3
    assert pauses == [2.0, 4.0]
    failures += [OSError(number, "away")] * 3
    with pytest.raises(ends, match=rf"^{photos}/00\.jpg: cannot be read: away(, in 3 tries; the same command|$)"):
        read_address(str(photos / "00.jpg"))
    failures += [OSError("a decoder's")]
    with pytest.raises(ImageError):
        read_address(str(photos / "00.jpg"))
    assert len(pauses) == 4


def test_http(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve(file((photos / "00.jpg").read_bytes())) as server:
        np.testing.assert_array_equal(read_address(f"{server.url}/a.jpg"), read_image(photos / "00.jpg"))


def test_hashes_tell_lists_apart() -> None:
    lists = [[], [""], ["a"], ["ab"], ["a", "b"], ["b", "a"], ["\udce9"]]
    assert len({hash_of(each) for each in lists}) == len(lists)
