from __future__ import annotations

from pathlib import Path

from paa.data.files.image_folders import holds_images, image_files
from paa.data.images.decoders import decodable_suffixes
from paa.data.read_report import ReadReport
from tests.data.data_files import write_image


def test_images_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", ".c.png", "deep/d.bmp", ".git/e.png"):
        write_image(tmp_path / name)
    for name in ("notes.txt", "f.heic", "g.CR2", ".h.dng", "deep/i.svg"):
        (tmp_path / name).write_bytes(b"?")
    heic = ".heic" in decodable_suffixes()
    report = ReadReport()
    found = [tmp_path / name for name in ("a.jpg", "b.PNG", *(["f.heic"] if heic else []))]
    assert image_files(tmp_path, report) == found
    if heic:
        says = "1 file of a format that cannot be decoded here: g.CR2; convert it"
    else:
        says = (
            "2 files of a format that cannot be decoded here: f.heic, g.CR2; convert them, or for .heic: "
            "pip install pillow-heif"
        )
    assert report.warnings == [f"{tmp_path}: {says}"]
    deep = image_files(tmp_path, ReadReport(), recursive=True)
    assert deep == [*found[:2], tmp_path / "deep" / "d.bmp", *found[2:]]
    assert image_files(tmp_path / "gone", report) == []


def test_whether_a_folder_holds_images(tmp_path: Path) -> None:
    (tmp_path / ".a.png").touch()
    (tmp_path / "a.txt").touch()
    write_image(tmp_path / "deep" / "a.JPG")
    assert holds_images(tmp_path / "deep")
    assert not any(map(holds_images, (tmp_path, tmp_path / "gone")))
