from __future__ import annotations

from pathlib import Path

from paa.data.left_out import LeftOut


def test_each_line_once_after_the_name_of_its_split(tmp_path: Path) -> None:
    file = LeftOut(tmp_path / "run" / "left_out.txt")
    file.add("train", ["a.png: broken", "b.png: gone", "a.png: broken"])
    file.add("val", ["a.png: broken"])
    file.write()
    assert file.path.read_text() == "train: a.png: broken\ntrain: b.png: gone\nval: a.png: broken\n"


def test_nothing_left_out_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "left_out.txt"
    path.write_text("of an earlier run\n")
    LeftOut(path).write()
    assert not path.exists()
    LeftOut(tmp_path / "none" / "left_out.txt").write()
    assert not (tmp_path / "none").exists()


def test_a_resumed_run_keeps_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "left_out.txt"
    path.write_text("train: a.png: broken\n")
    file = LeftOut(path, keep=True)
    file.add("train", ["b.png: gone", "a.png: broken"])
    file.write()
    assert path.read_text() == "train: a.png: broken\ntrain: b.png: gone\n"
    assert LeftOut(tmp_path / "new.txt", keep=True).path == tmp_path / "new.txt"


def test_the_file_is_written_only_when_lines_were_added(tmp_path: Path) -> None:
    file = LeftOut(tmp_path / "left_out.txt")
    file.add("train", ["a.png: broken"])
    file.write()
    file.path.unlink()
    file.add("train", ["a.png: broken"])
    file.write()
    assert not file.path.exists()
    file.add("train", ["b.png: gone"])
    file.write()
    assert len(file.path.read_text().splitlines()) == 2


def test_messages_of_several_lines_and_names_that_are_no_unicode(tmp_path: Path) -> None:
    file = LeftOut(tmp_path / "left_out.txt")
    file.add("train", ["a\nb.png: broken", "c\udcff.png: broken"])
    file.write()
    assert file.path.read_text() == "train: a b.png: broken\ntrain: c\\udcff.png: broken\n"
