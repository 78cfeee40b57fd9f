"""Which image an annotation file of VOC belongs to, and what lists of splits name."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from paa.data.read_report import ReadReport
from paa.errors import AnnotationError
from tests.data.data_files import write_image
from tests.data.formats.voc.voc_files import fails, make, names, read_voc, write_lists, write_note


@pytest.mark.parametrize(
    ("image", "filename", "path"),
    [
        ("photo1.jpg", "photo1.jpg", ""),
        ("photo1.jpg", "PHOTO1.JPG", ""),
        ("photo1.jpg", "photo1.png", ""),
        ("photo1.jpg", "photo1", ""),
        ("photo1.jpg", "JPEGImages/photo1.jpg", ""),
        ("photo1.jpg", r"C:\pets\photo1.jpg", ""),
        ("photo1.jpg", "", r"D:\pets\train\photo1.jpg"),
        ("photo1.jpg", "gone.jpg", "/home/ann/photo1.jpg"),
        ("my photo.jpg", "my%20photo.jpg", ""),
        ("café.jpg", unicodedata.normalize("NFD", "café.jpg"), ""),
        (unicodedata.normalize("NFD", "café.jpg"), "café.jpg", ""),
        ("A.jpg", "gone.jpg", ""),  # the stem itself, in other capitals
    ],
)
def test_the_image_that_the_annotation_names(tmp_path: Path, image: str, filename: str, path: str) -> None:
    make(tmp_path, "Annotations/b.xml", "JPEGImages/b.png", f"JPEGImages/{image}")
    write_note(tmp_path / "Annotations" / "a.xml", filename=filename, path=path)
    assert names(read_voc(tmp_path, "train")) == [f"JPEGImages/{image}", "JPEGImages/b.png"]


def test_the_stem_comes_before_what_the_annotation_names(tmp_path: Path) -> None:
    write_note(tmp_path / "img 1.xml", "cat", filename="b.jpg")  # as copies of a template have it
    write_note(tmp_path / "b.xml", "dog", filename="b.jpg")
    make(tmp_path, "img 1.jpg", "b.jpg")
    index = read_voc(tmp_path, "train")
    assert names(index) == ["b.jpg", "img 1.jpg"]
    assert index.labels.tolist() == [1, 0]


@pytest.mark.parametrize("filename", ["c.jpg", ""])
def test_no_image(tmp_path: Path, filename: str) -> None:
    make(tmp_path, "Annotations/b.xml", "JPEGImages/b.png")
    file = write_note(tmp_path / "Annotations" / "a.xml", filename=filename)
    named = f" and no {filename}" if filename else ""
    says = f"{file}: has no image: there is no a.*{named} in {tmp_path / 'JPEGImages'}"
    assert fails(tmp_path, AnnotationError).startswith(says)
    report = ReadReport(skip_bad=True)
    assert names(read_voc(tmp_path, "train", report)) == ["JPEGImages/b.png"]
    assert report.left_out == [says]


def test_two_files_that_name_one_image(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "b.xml", "photo.jpg")
    one, other = (write_note(tmp_path / f"{stem}.xml", filename="photo.jpg") for stem in ("x", "y"))
    says = f"{tmp_path / 'photo.jpg'}: is the image of both {one} and {other}"
    assert fails(tmp_path, AnnotationError).startswith(says)
    report = ReadReport(skip_bad=True)
    assert names(read_voc(tmp_path, "train", report)) == ["b.jpg"]
    assert report.left_out == [says]


def test_a_file_that_names_the_image_of_another(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "b.xml")
    file = write_note(tmp_path / "a.xml", filename="b.jpg")
    says = f"{file}: names {tmp_path / 'b.jpg'} as its image, which belongs to {tmp_path / 'b.xml'}"
    assert fails(tmp_path, AnnotationError).startswith(says)
    report = ReadReport(skip_bad=True)
    index = read_voc(tmp_path, "train", report)
    assert names(index) == ["b.jpg"]
    assert index.names == ("cat", "dog")
    assert index.labels.tolist() == [1]


@pytest.mark.parametrize("files", [("a.xml", "a.XML"), ("one/a.xml", "two/a.xml")])
def test_two_files_of_one_name(tmp_path: Path, files: tuple[str, str]) -> None:
    make(tmp_path, *(f"Annotations/{name}" for name in files), "JPEGImages/a.png")
    message = fails(tmp_path, AnnotationError)
    assert all(str(tmp_path / "Annotations" / name) in message for name in files)


def test_two_images_of_one_name(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "a.png")
    file = write_note(tmp_path / "a.xml")
    says = f"{file}: has two images: {tmp_path / 'a.jpg'} and {tmp_path / 'a.png'}"
    assert fails(tmp_path, AnnotationError).startswith(says)
    write_note(file, filename="a.png")
    assert names(read_voc(tmp_path, "train")) == ["a.png"]
    write_note(file, filename="x.png", path=r"C:\set\a.jpg")
    assert names(read_voc(tmp_path, "train")) == ["a.jpg"]
    write_note(file, filename="a.tif")
    assert fails(tmp_path, AnnotationError).startswith(says)


def test_images_of_one_name_in_two_folders(tmp_path: Path) -> None:
    make(tmp_path, "JPEGImages/x/a.png", "JPEGImages/y/a.png")
    file = write_note(tmp_path / "Annotations" / "a.xml", filename="a.png")
    assert "has two images" in fails(tmp_path, AnnotationError)
    write_note(file, path=r"C:\set\y\a.png")
    assert names(read_voc(tmp_path, "train")) == ["JPEGImages/y/a.png"]
    file.unlink()
    for folder, name in (("x", "cat"), ("y", "dog")):
        write_note(tmp_path / "Annotations" / folder / "a.xml", name)
    index = read_voc(tmp_path, "train")  # folders of the same names
    assert names(index) == ["JPEGImages/x/a.png", "JPEGImages/y/a.png"]
    assert index.labels.tolist() == [0, 1]
    write_lists(tmp_path, train="y/a\n", val="a\n")
    assert names(read_voc(tmp_path, "train")) == ["JPEGImages/y/a.png"]
    assert "a is the name of both" in fails(tmp_path, AnnotationError, split="val")


@pytest.mark.parametrize(
    "line",
    [
        "a",
        "a.jpg",
        "a.JPG",
        "a.png",
        "a.xml",
        "JPEGImages/a.jpg",
        "./JPEGImages/a.jpg",
        r"JPEGImages\a.jpg",
        "/home/ann/set/JPEGImages/a.jpg",
        r"C:\set\JPEGImages\a.jpg",
        "a 1",
        "a  -1",
        "a.jpg 0",
        "A",
        " a\t",
        "JPEGImages/a.jpg Annotations/a.xml",
        "a.jpg a.xml",
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_lines_of_a_list(tmp_path: Path, line: str, ending: str) -> None:
    make(tmp_path, "Annotations/a.xml", "JPEGImages/a.jpg", "Annotations/b.xml", "JPEGImages/b.jpg")
    write_lists(tmp_path, train="")
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_bytes(f"b{ending}{ending}{line}{ending}".encode())
    assert names(read_voc(tmp_path, "train")) == ["JPEGImages/b.jpg", "JPEGImages/a.jpg"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings_of_a_list(tmp_path: Path, encoding: str) -> None:
    make(tmp_path, "Annotations/é.xml", "JPEGImages/é.jpg", "Annotations/b.xml", "JPEGImages/b.jpg")
    write_lists(tmp_path, train="")
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_bytes(f"{mark}é\r\n".encode(encoding))
    assert names(read_voc(tmp_path, "train")) == ["JPEGImages/é.jpg"]


@pytest.mark.parametrize(
    ("line", "stem"),
    [
        ("img 1", "img 1"),
        ("img 0", "img"),
        ("img -1", "img"),
        ("img 1 1", "img 1"),
        ("v1.2", "v1.2"),
        ("img 1.jpg", "img 1"),
    ],
)
def test_a_number_at_the_end_may_be_the_names_own(tmp_path: Path, line: str, stem: str) -> None:
    for name in ("img", "img 1", "v1.2", "v1"):
        make(tmp_path, f"Annotations/{name}.xml", f"JPEGImages/{name}.jpg")
    write_lists(tmp_path, train=f"{line}\n")
    assert names(read_voc(tmp_path, "train")) == [f"JPEGImages/{stem}.jpg"]


def test_an_image_of_the_whole_name_without_annotations(tmp_path: Path) -> None:
    make(tmp_path, "Annotations/img.xml", "JPEGImages/img.jpg", "JPEGImages/img 1.jpg")
    write_lists(tmp_path, train="img 1\n")
    assert "img 1 is listed in train but has no XML file" in fails(tmp_path, AnnotationError)


def test_a_file_that_is_no_list(tmp_path: Path) -> None:
    make(tmp_path, "Annotations/img.xml", "JPEGImages/img.jpg")
    write_lists(tmp_path, train="x" * 5000 + "\n")
    assert f"{'x' * 200}... is listed in train but has no XML file" in fails(tmp_path, AnnotationError)


def test_a_name_that_is_listed_twice(tmp_path: Path) -> None:
    make(tmp_path, "Annotations/a.xml", "JPEGImages/a.jpg")
    write_lists(tmp_path, train="a\na.jpg\n")
    report = ReadReport()
    assert len(read_voc(tmp_path, "train", report)) == 1
    assert "train.txt: 1 lines name an image that an earlier line names already" in report.warnings[0]


def test_links_are_followed(tmp_path: Path) -> None:
    make(tmp_path / "disk", "a.jpg")
    make(tmp_path / "set", "Annotations/a.xml")
    (tmp_path / "set" / "JPEGImages").symlink_to(tmp_path / "disk", target_is_directory=True)
    assert names(read_voc(tmp_path / "set", "train")) == ["JPEGImages/a.jpg"]
    make(tmp_path / "flat", "b.xml")
    (tmp_path / "flat" / "b.jpg").symlink_to(write_image(tmp_path / "blob0.png"))
    assert names(read_voc(tmp_path / "flat", "train")) == ["b.jpg"]


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "a.xml", ".b.jpg", ".b.xml", ".ipynb_checkpoints/c.jpg", ".ipynb_checkpoints/c.xml")
    assert names(read_voc(tmp_path, "train")) == ["a.jpg"]


def test_images_of_another_split_are_not_this_ones(tmp_path: Path) -> None:
    """Where a split's own image is missing, and another split has one of the same name and size."""
    make(tmp_path, *(f"Annotations/{split}/{n}.xml" for split in ("train", "val") for n in "12"))
    make(tmp_path, "JPEGImages/train/1.png", "JPEGImages/val/1.png", "JPEGImages/val/2.png")
    assert "train/2.xml: has no image" in fails(tmp_path, AnnotationError)
    report = ReadReport(skip_bad=True)
    assert names(read_voc(tmp_path, "train", report)) == ["JPEGImages/train/1.png"]
    assert names(read_voc(tmp_path, "val")) == ["JPEGImages/val/1.png", "JPEGImages/val/2.png"]


def test_images_of_a_folder_of_several_splits_are_this_ones(tmp_path: Path) -> None:
    make(tmp_path, "Annotations/train/1.xml", "Annotations/val/2.xml", "JPEGImages/trainval/1.png")
    make(tmp_path, "JPEGImages/trainval/2.png", "JPEGImages/test/3.png")
    assert names(read_voc(tmp_path, "train")) == ["JPEGImages/trainval/1.png"]
