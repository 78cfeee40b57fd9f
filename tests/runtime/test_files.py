from __future__ import annotations

import threading
from pathlib import Path

import pytest

from paa.errors import ConfigError, RunError
from paa.runtime.files import remove_temporaries, whole_file


def test_two_writers_do_not_share_a_temporary(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with whole_file(path) as first, whole_file(path) as second:
        assert first != second
        assert first.parent == second.parent == tmp_path
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # closed last
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_reader_sees_whole_files_of_two_writers(tmp_path: Path) -> None:
    path, texts = tmp_path / "file", ("a" * 100_000, "b" * 100_000)
    path.write_text(texts[0])

    def write(text: str) -> None:
        for _ in range(30):
            with whole_file(path) as temporary:
                temporary.write_text(text)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    seen = set()
    while any(thread.is_alive() for thread in threads):
        seen.add(path.read_text())
    for thread in threads:
        thread.join()
    assert seen <= set(texts)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_errors_of_the_system_name_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match=r"no/file: cannot be written: No such file or directory$"),
        whole_file(tmp_path / "no" / "file") as temporary,
    ):
        temporary.write_text("x")
    for error in (ConfigError("mine"), RuntimeError("other"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            write_half(tmp_path / "file", error)
    assert list(tmp_path.iterdir()) == []


def write_half(path: Path, error: BaseException) -> None:
    with whole_file(path) as temporary:
        temporary.write_text("half")
        raise error


def test_only_our_temporaries_are_removed(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a.b") as temporary:
        temporary.write_text("x")
        (tmp_path / temporary.name.replace("a.b", "aXb")).write_text("")
        remove_temporaries(tmp_path, ["c.d"])
        assert temporary.exists()
        left = temporary.with_name("a.b.999-0123abcd.tmp")
        left.write_text("")
        (tmp_path / "a.b.1-0123abcd.tmp").mkdir()
    remove_temporaries(tmp_path, ["a.b", "c.d"])
    assert {p.name[:3] for p in tmp_path.iterdir()} == {"a.b", "aXb"}
    assert not left.exists()


@pytest.mark.parametrize("name", ["a" * 255, "猫" * 85, "é" * 127 + "a"])
def test_names_as_long_as_they_can_be(tmp_path: Path, name: str) -> None:
    with whole_file(tmp_path / name) as temporary:
        temporary.write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == [name]
