from __future__ import annotations

import threading
from pathlib import Path

import pytest

from paa.errors import ConfigError, RunError
from paa.runtime.files import check_new_folder, remove_temporaries, whole_file, whole_folder


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


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "deep" / "new") as temporary:
        (temporary / "file").write_text("x")
        assert not (tmp_path / "deep" / "new").exists()
    assert (tmp_path / "deep" / "new" / "file").read_text() == "x"
    for error, raised in ((OSError(28, "No space left on device"), RunError), (KeyboardInterrupt(), KeyboardInterrupt)):
        with pytest.raises(raised):
            write_half_of_a_folder(tmp_path / "deep" / "other", error)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["new"]


def write_half_of_a_folder(path: Path, error: BaseException) -> None:
    with whole_folder(path) as temporary:
        (temporary / "file").write_text("half")
        raise error


def test_a_folder_that_exists_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("full", "full/file", "link"):
        with pytest.raises(RunError, match=f"{name}: exists already"), whole_folder(tmp_path / name):
            pass
        with pytest.raises(RunError, match="exists already"):
            check_new_folder(tmp_path / name)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for name in (".", ".."):
        with pytest.raises(RunError, match="name a new folder"), whole_folder(Path(name)):
            pass
    for name in ("empty", "new"):
        check_new_folder(tmp_path / name)
        with whole_folder(tmp_path / name) as temporary:
            (temporary / "file").write_text("y")
        assert (tmp_path / name / "file").read_text() == "y"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full", "link", "new"]
