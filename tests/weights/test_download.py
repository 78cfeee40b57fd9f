"""Downloads against a server that cuts off, lies, hangs, forgets its ranges: the right file, or one clear reason."""

from __future__ import annotations

import hashlib
import logging
import random
import socket
import sys
from pathlib import Path

import pytest

from paa.weights import download as module
from paa.weights.download import DownloadError, download, remote_size
from tests.mounts import run_with_small_disk
from tests.processes import in_two_processes
from tests.weights.servers import Answer, Server, file, hang, serve, status, trickle

CONTENT = random.Random(0).randbytes(300_000)
PREFIX = hashlib.sha256(CONTENT).hexdigest()[:8]
PARTIAL = "a.pth.partial"


def fetch(server: Server, folder: Path) -> Path:
    """Download `CONTENT`, and check that it came and that nothing lies beside it."""
    path = folder / "a.pth"
    download(f"{server.url}/x/a.pth", path, PREFIX)
    assert path.read_bytes() == CONTENT
    assert list(folder.iterdir()) == [path]
    return path


def refusal(server: Server, folder: Path) -> str:
    """Return the reason why `CONTENT` cannot be downloaded."""
    with pytest.raises(DownloadError) as caught:
        download(f"{server.url}/a.pth", folder / "a.pth", PREFIX)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_once(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "paa")
    with serve(file(CONTENT)) as server:
        path = fetch(server, cache)
        fetch(server, cache)
    assert server.requests == [("GET", "/x/a.pth", None)]
    assert caplog.messages == [
        f"fetching {server.url}/x/a.pth (293.0 kB)",
        f"{path}: fetched, and its SHA-256 is right",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_for_terminals(
    cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    caplog.set_level(logging.INFO, "paa")
    monkeypatch.setattr(module, "_PROGRESS_EVERY", 0)
    monkeypatch.setattr(module, "_PIECE", 100_000)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with serve(file(CONTENT)) as server:
        fetch(server, cache)
    assert [message for message in caplog.messages if "% of 293.0 kB" in message][-1:] == (
        ["100 % of 293.0 kB"] if terminal else []
    )


def test_a_file_that_was_put_there_by_hand_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(CONTENT)
    download("http://127.0.0.1:9/a.pth", tmp_path / "a.pth", PREFIX)


def test_a_download_that_is_cut_off_goes_on_where_it_was(cache: Path) -> None:
    with serve(file(CONTENT, cut=100_000), file(CONTENT, cut=50_000), file(CONTENT)) as server:
        fetch(server, cache)
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_a_server_without_ranges_sends_the_whole_file_again(cache: Path) -> None:
    with serve(file(CONTENT, cut=100_000), file(CONTENT, ranges=False)) as server:
        fetch(server, cache)
    assert server.ranges == [None, "bytes=100000-"]


@pytest.mark.parametrize("seed", range(8))
def test_any_series_of_interruptions_ends_with_the_right_file(cache: Path, seed: int) -> None:
    chance = random.Random(seed)
    answers: list[Answer] = []
    for _ in range(3):
        cut = chance.randrange(len(CONTENT))
        broken = file(CONTENT, cut=cut, ranges=chance.random() < 0.7)
        answers.append(chance.choice([broken, broken, status(503), status(429)]))
    with serve(*answers, file(CONTENT, ranges=chance.random() < 0.7)) as server:
        fetch(server, cache)


def test_a_server_that_states_no_length(cache: Path) -> None:
    with serve(file(CONTENT, length=False)) as server:
        fetch(server, cache)
    with serve(file(CONTENT, length=False, cut=1000), file(CONTENT)) as server:
        assert refusal(server, cache / "b").startswith("the server sent 1000 bytes whose SHA-256")
        fetch(server, cache / "b")


def test_after_too_many_interruptions_the_next_call_goes_on(cache: Path) -> None:
    with serve(file(CONTENT, cut=1000)) as server:
        assert refusal(server, cache) == "the connection broke after 4000 of 300000 bytes"
    assert server.ranges == [None, "bytes=1000-", "bytes=2000-", "bytes=3000-"]
    assert names(cache) == [PARTIAL]
    with serve(file(CONTENT)) as server:
        fetch(server, cache)
    assert server.ranges == ["bytes=4000-"]


def test_attempts_that_bring_a_lot_are_not_counted(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE", 10_000)
    with serve(*[file(CONTENT, cut=20_000)] * 14, file(CONTENT)) as server:
        fetch(server, cache)
    assert len(server.requests) == 15


def test_a_server_that_always_starts_again_and_breaks_off_is_given_up(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PIECE", 10_000)
    with serve(file(CONTENT, cut=200_000, ranges=False)) as server:
        assert refusal(server, cache) == "the connection broke after 200000 of 300000 bytes"
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("kept", "ranges"),
    [
        (CONTENT[:70_000], ["bytes=70000-"]),
        (b"of another file", ["bytes=15-", None]),
        (CONTENT + b"more", ["bytes=300004-", None]),
        (CONTENT, []),
        (b"", [None]),
    ],
    ids=["begun", "other", "longer", "whole", "empty"],
)
def test_what_an_earlier_process_left(cache: Path, kept: bytes, ranges: list[str | None]) -> None:
    cache.mkdir(parents=True)
    (cache / PARTIAL).write_bytes(kept)
    with serve(file(CONTENT)) as server:
        fetch(server, cache)
    assert server.ranges == ranges


def test_a_file_that_changes_on_the_server_is_fetched_from_its_start(cache: Path) -> None:
    other = bytes(len(CONTENT))
    with serve(file(other, cut=100_000), file(CONTENT)) as server:
        fetch(server, cache)
    assert server.ranges == [None, "bytes=100000-", None]


def test_another_part_than_the_one_asked_for_is_not_taken(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / PARTIAL).write_bytes(CONTENT[:10])
    wrong = status(206, {"Content-Range": "bytes 0-9/300000"})
    with serve(wrong, status(206), file(CONTENT)) as server:
        fetch(server, cache)
    assert server.ranges == ["bytes=10-"] * 3


@pytest.mark.parametrize(
    ("content", "what"), [(b"nonsense", "8 bytes"), (b"<html>log in</html>", "19 bytes (a web page (HTML or XML))")]
)
def test_wrong_content_is_deleted(cache: Path, content: bytes, what: str) -> None:
    found = hashlib.sha256(content).hexdigest()[:8]
    with serve(file(content)) as server:
        says = f"the server sent {what} whose SHA-256 starts with {found}, not {PREFIX}; they were deleted"
        assert refusal(server, cache) == says
    assert len(server.requests) == 1
    assert names(cache) == []


def test_a_wrong_file_in_the_cache_is_replaced_by_the_right_one_only(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "a.pth").write_bytes(b"damaged")
    with serve(status(404)) as server:
        refusal(server, cache)
    assert (cache / "a.pth").read_bytes() == b"damaged"
    with serve(file(CONTENT)) as server:
        fetch(server, cache)


def test_a_file_that_does_not_exist_is_asked_for_once(cache: Path) -> None:
    with serve(status(404)) as server:
        assert refusal(server, cache) == "HTTP 404 Not Found"
    assert len(server.requests) == 1
    assert names(cache) == []


def test_a_server_in_trouble_is_asked_again(cache: Path) -> None:
    with serve(status(500), status(503), file(CONTENT)) as server:
        fetch(server, cache)
    with serve(status(500)) as server:
        assert refusal(server, cache / "b") == "HTTP 500 Internal Server Error"
    assert len(server.requests) == 4


def test_a_server_that_hangs_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    with serve(hang, file(CONTENT, slow=30), file(CONTENT)) as server:
        fetch(server, cache)
    assert server.ranges == [None, None, "bytes=150000-"]
    with serve(hang) as server:
        assert refusal(server, cache / "b") == "no answer for 0.1 seconds"


def test_a_server_that_hardly_sends_anything_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    with serve(trickle) as server:
        assert refusal(server, cache).startswith("only ")


def test_no_network(cache: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DownloadError, match=r"^Connection refused$"):
        download(f"http://127.0.0.1:{port}/a.pth", cache / "a.pth", PREFIX)
    with pytest.raises(DownloadError):
        download("http://name.invalid/a.pth", cache / "a.pth", PREFIX)
    with pytest.raises(DownloadError, match="unknown url type"):
        download("nothing", cache / "a.pth", PREFIX)
    assert names(cache) == []


def test_an_address_of_a_file(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "source.pth").write_bytes(CONTENT)
    download((tmp_path / "source.pth").as_uri(), cache / "a.pth", PREFIX)
    assert (cache / "a.pth").read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="No such file"):
        download((tmp_path / "gone.pth").as_uri(), cache / "b.pth", PREFIX)


def test_two_processes_share_one_download(cache: Path, tmp_path: Path) -> None:
    with serve(file(CONTENT, slow=1)) as server:
        ended = in_two_processes(tmp_path, download, f"{server.url}/a.pth", cache / "a.pth", PREFIX)
    assert [done.code for done in ended] == [0, 0], ended
    assert len(server.requests) == 1
    assert (cache / "a.pth").read_bytes() == CONTENT
    assert names(cache) == ["a.pth"]


def test_where_files_cannot_be_locked_each_process_has_its_own(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "try_lock", lambda file: None)
    with serve(file(CONTENT, cut=1000), file(CONTENT)) as server:
        fetch(server, cache)
    with serve(file(CONTENT, cut=1000)) as server:
        refusal(server, cache / "b")
    assert names(cache / "b") == []


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with serve(file(CONTENT)) as server:
        assert refusal(server, tmp_path / "a").startswith(f"{tmp_path}/a/a.pth: cannot be written: ")
    assert server.requests == []


def test_a_full_disk_is_named_and_not_left_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    code = "import os, sys; from pathlib import Path; from paa.weights.download import *; disk = Path(sys.argv[1])\n"
    code += f"try: download(sys.argv[2], disk / 'a.pth', '{PREFIX}')\n"
    code += "except DownloadError as error: print(error, os.listdir(disk))"
    with serve(file(CONTENT)) as server:
        done = run_with_small_disk(disk, "100k", [sys.executable, "-c", code, str(disk), f"{server.url}/a.pth"])
    assert done.stdout.startswith(f"{disk}/a.pth: cannot be written: No space left on device, with 100.0 kB free")
    assert done.stdout.endswith("[]\n")


def test_the_size_of_a_file_on_a_server(cache: Path) -> None:
    with serve(file(CONTENT), file(CONTENT, length=False), status(404)) as server:
        assert remote_size(f"{server.url}/a") == len(CONTENT)
        assert remote_size(f"{server.url}/a") is None
        with pytest.raises(DownloadError, match=r"^HTTP 404 Not Found$"):
            remote_size(f"{server.url}/a")
    assert server.requests[0] == ("HEAD", "/a", None)
