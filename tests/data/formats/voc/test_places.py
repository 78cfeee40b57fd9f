"""Where people's VOC data sets keep annotations, images and splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from paa.data.formats.voc.read import level
from paa.data.read_report import ReadReport
from paa.errors import AnnotationError, DataError
from tests.data.data_files import shared, write_image
from tests.data.formats.voc.voc_files import fails, make, names, read_voc, write_lists, write_note

FLAT = ("a.jpg", "a.xml", "b.jpg", "b.xml")


def in_folder(folder: str, *files: str) -> list[str]:
    return [f"{folder}/{name}" for name in files or FLAT]


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("", ""),
        ("Annotations", "JPEGImages"),
        ("annotations", "images"),
        ("ANNOTATIONS", "Images"),
        ("Annotation", "Image"),
        ("xmls", "imgs"),
        ("labels", "data"),
        ("annotations/xmls", "images"),
        ("Annotations", "Annotations"),
        ("Annotations", ""),
        ("images", "images"),
        ("my_boxes", "my_photos"),
        ("", "photos"),
        ("Annotations", "JPEGImages/deep"),
    ],
)
def test_folders_of_annotations_and_images(tmp_path: Path, annotations: str, images: str) -> None:
    make(tmp_path, *in_folder(annotations or ".", "a.xml", "b.xml"), *in_folder(images or ".", "a.png", "b.png"))
    make(tmp_path, "SegmentationClass/a.png", "ImageSets/Main/x.png")
    assert level(tmp_path) == 0
    report = ReadReport()
    index = read_voc(tmp_path, "train", report)
    assert names(index) == [(Path(images) / name).as_posix() for name in ("a.png", "b.png")]
    assert index.names == ("cat", "dog")
    assert index.labels.tolist() == [0, 1]
    assert report.annotations == str(tmp_path / annotations.removesuffix("/xmls"))
    assert report.images == str(tmp_path / Path(images).parts[0] if images else tmp_path)
    assert report.warnings == []


@pytest.mark.parametrize(
    ("folders", "of_split"),
    [
        (("train", "valid", "test"), ("train", "valid", "test")),
        (("Training", "Validation", "Testing"), ("Training", "Validation", "Testing")),
        (("images/train", "images/val", "images/test"), ("images/train", "images/val", "images/test")),
        (("train2017", "val2017", "test2017"), ("train2017", "val2017", "test2017")),
        (("train_zip/train", "val_zip/val", "test_zip/test"), ("train_zip/train", "val_zip/val", "test_zip/test")),
        (("set/train", "set/valid", "set/test"), ("set/train", "set/valid", "set/test")),
    ],
)
def test_flat_folders_named_as_splits(tmp_path: Path, folders: tuple[str, ...], of_split: tuple[str, ...]) -> None:
    for number, folder in enumerate(folders):
        make(tmp_path, *in_folder(folder))
        write_note(tmp_path / folder / f"only{number}.xml", f"class{number}")
        write_image(tmp_path / folder / f"only{number}.png")
    for number, (split, folder) in enumerate(zip(("train", "val", "test"), of_split)):
        index = read_voc(tmp_path, split)
        assert names(index) == [f"{folder}/{name}" for name in ("a.jpg", "b.jpg", f"only{number}.png")]
        assert index.names == ("cat", "class0", "class1", "class2", "dog")  # of all splits


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("{}/annotations", "{}/images"),
        ("{}/Annotations", "{}/JPEGImages"),
        ("{}", "{}/images"),
        ("annotations/{}", "images/{}"),
        ("annotations/{}", "images"),
        ("annotations", "images/{}"),
        ("Annotations", "{}"),
        ("{}/annotations", "images/{}"),
        ("{}/VOC2007/Annotations", "{}/VOC2007/JPEGImages"),
    ],
)
def test_splits_of_annotations_or_images(tmp_path: Path, annotations: str, images: str) -> None:
    for split, stem in (("train", "a"), ("test", "b")):
        make(tmp_path, f"{annotations.format(split)}/{stem}.xml", f"{images.format(split)}/{stem}.png")
    for split, stem in (("train", "a"), ("test", "b")):
        report = ReadReport()
        index = read_voc(tmp_path, split, report)
        assert names(index) == [f"{images.format(split)}/{stem}.png"]
        assert index.names == ("cat", "dog")
        assert report.left_out == []
        assert not any("no annotation file" in warning for warning in report.warnings)
    message = fails(tmp_path, split="val")
    assert "no 'val': it has " in message
    assert "test" in message


def test_the_same_name_in_two_splits_is_two_images(tmp_path: Path) -> None:
    for split, name in (("train", "cat"), ("val", "dog")):
        write_note(tmp_path / "annotations" / split / "1.xml", name)
        write_image(tmp_path / "images" / split / "1.png")
    assert names(read_voc(tmp_path, "train")) == ["images/train/1.png"]
    assert names(read_voc(tmp_path, "val")) == ["images/val/1.png"]
    assert read_voc(tmp_path, "val").labels.tolist() == [1]


def test_two_folders_for_a_split(tmp_path: Path) -> None:
    make(tmp_path, *in_folder("valid"), *in_folder("validation"), *in_folder("val2", "a.jpg", "b.jpg"))
    message = fails(tmp_path, split="val")
    assert str(tmp_path / "valid") in message
    assert str(tmp_path / "validation") in message
    assert len(read_voc(tmp_path, "valid")) == 2  # its very name
    with pytest.raises(DataError, match="no 'train'"):
        read_voc(tmp_path, "train")


def test_a_folder_of_any_name_is_a_split_where_that_is_asked_for(tmp_path: Path) -> None:
    make(tmp_path, *in_folder("fold1"), *in_folder("fold2", "c.jpg", "c.xml"))
    assert level(tmp_path) == 1
    assert names(read_voc(tmp_path, "fold2")) == ["fold2/c.jpg"]
    assert len(read_voc(tmp_path, "train")) == 3


def test_level(tmp_path: Path) -> None:
    make(tmp_path / "child", "x/Annotations/a.xml", "x/JPEGImages/a.jpg")
    assert level(tmp_path / "child" / "x") == 0
    assert level(tmp_path / "child") == 1
    assert level(tmp_path / "child" / "x" / "Annotations") == 0
    assert level(tmp_path / "child" / "x" / "JPEGImages") is None
    assert level(tmp_path / "gone") is None
    make(tmp_path / "hidden", ".old/Annotations/a.xml", ".old/JPEGImages/a.jpg")
    assert level(tmp_path / "hidden") is None
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "train").symlink_to(tmp_path / "loop", target_is_directory=True)
    assert level(tmp_path / "loop") is None


@pytest.mark.parametrize(
    "text",
    ["<annotations><image/></annotations>", "<project/>", "no XML at all", "", "<!-- <annotation> --><svg/>"],
)
def test_other_xml_is_not_voc(tmp_path: Path, text: str) -> None:
    make(tmp_path, "a.jpg")
    (tmp_path / "a.xml").write_text(text)
    assert level(tmp_path) is None
    make(tmp_path, "b.jpg", "b.xml")
    assert level(tmp_path) == 0
    if "<" in text:
        report = ReadReport()
        assert names(read_voc(tmp_path, "train", report)) == ["b.jpg"]
        assert report.left_out == []
        assert "1 XML files are no VOC annotations, and were not read; the first is a.xml" in report.warnings[0]


def test_other_xml_that_is_listed(tmp_path: Path) -> None:
    make(tmp_path, "Annotations/b.xml", "JPEGImages/a.jpg", "JPEGImages/b.jpg")
    (tmp_path / "Annotations" / "a.xml").write_text("<annotations/>")
    write_lists(tmp_path, train="a\nb\n")
    assert "a.xml: is listed, but is no VOC annotation" in fails(tmp_path, AnnotationError)
    report = ReadReport(skip_bad=True)
    assert names(read_voc(tmp_path, "train", report)) == ["JPEGImages/b.jpg"]
    assert report.warnings == []


@pytest.mark.parametrize(
    ("files", "both"),
    [
        (("xmls/a.xml", "labels/a.xml", "images/a.png"), ("labels", "xmls")),
        (("a.xml", "xmls/a.xml", "images/a.png"), ("xmls", ".")),
        (("Annotations/a.xml", "images/a.png", "train/a.xml", "train/a.png"), ("Annotations", "train")),
        (("boxes1/a.xml", "boxes2/a.xml", "images/a.png"), ("boxes1", "boxes2")),
    ],
)
def test_annotations_in_two_places(tmp_path: Path, files: tuple[str, ...], both: tuple[str, str]) -> None:
    message = fails(make(tmp_path, *files))
    assert all(str(tmp_path / folder) in message for folder in both)
    assert message.endswith("; name one of them")


def test_the_standard_folder_comes_before_others(tmp_path: Path) -> None:
    make(tmp_path, "Annotations/a.xml", "xmls/b.xml", "JPEGImages/a.png", "images/a.png", "JPEGImages/b.png")
    report = ReadReport()
    assert names(read_voc(tmp_path, "train", report)) == ["JPEGImages/a.png"]
    assert str(tmp_path / "xmls") in report.warnings[0]


@pytest.mark.parametrize(
    "folders", [("images", "img"), ("masks", "my_photos"), ("images", "."), ("images", "Annotations")]
)
def test_images_in_two_folders(tmp_path: Path, folders: tuple[str, str]) -> None:
    make(tmp_path, "Annotations/a.xml", *(f"{folder}/a.png" for folder in folders))
    message = fails(tmp_path)
    assert all(str(tmp_path / folder) in message for folder in folders)
    assert message.endswith("--images DIR")
    index = read_voc(tmp_path, "train", images=tmp_path / folders[0])
    assert names(index) == [f"{folders[0]}/a.png"]


def test_the_folder_with_images_of_the_annotations_names(tmp_path: Path) -> None:
    make(tmp_path, "Annotations/a.xml", "images/other.png", "originals/a.png")
    assert names(read_voc(tmp_path, "train")) == ["originals/a.png"]


def test_images_elsewhere(tmp_path: Path) -> None:
    make(tmp_path / "set", "Annotations/a.xml")
    make(tmp_path / "disk", "deep/a.png")
    assert "found no images of these annotations nearby; name their folder: --images DIR" in fails(tmp_path / "set")
    index = read_voc(tmp_path / "set", "train", images=tmp_path / "disk")
    assert index.path(0) == tmp_path / "disk" / "deep" / "a.png"


def test_images_of_splits_elsewhere(tmp_path: Path) -> None:
    make(tmp_path / "set", "train/a.xml", "test/a.xml")
    make(tmp_path / "disk", "Train/a.png", "Test/a.png")
    for split in ("train", "test"):
        index = read_voc(tmp_path / "set", split, images=tmp_path / "disk")
        assert index.path(0) == tmp_path / "disk" / split.title() / "a.png"


def test_the_folder_of_annotations_is_given(tmp_path: Path) -> None:
    make(tmp_path, "Annotations/a.xml", "Annotations/b.xml", "JPEGImages/a.png", "JPEGImages/b.png")
    index = read_voc(tmp_path / "Annotations", "train")
    assert [index.path(i) for i in range(2)] == [tmp_path / "JPEGImages" / name for name in ("a.png", "b.png")]
    write_lists(tmp_path, train="b\n")
    assert len(read_voc(tmp_path / "Annotations", "train")) == 1


def test_images_without_annotations_are_counted(tmp_path: Path) -> None:
    make(tmp_path, *FLAT, "c.png", "d.png")
    report = ReadReport()
    assert len(read_voc(tmp_path, "train", report)) == 2
    assert report.warnings == [
        f"{tmp_path}: 2 of 4 images have no annotation file, and are not read; the first is c.png"
    ]


def test_files_that_cannot_be_decoded_are_named(tmp_path: Path) -> None:
    make(tmp_path, *FLAT)
    for name in ("c.nef", "d.psd"):
        (tmp_path / name).write_bytes(b"raw")
    report = ReadReport()
    read_voc(tmp_path, "train", report)
    assert report.warnings == [
        f"{tmp_path}: 2 files of a format that cannot be decoded here: c.nef, d.psd; convert them"
    ]
    make(tmp_path / "raw", "Annotations/a.xml")
    (tmp_path / "raw" / "images").mkdir()
    (tmp_path / "raw" / "images" / "a.cr2").write_bytes(b"raw")
    assert "1 file of a format that cannot be decoded here: a.cr2; convert it" in fails(tmp_path / "raw")


def test_lists_decide_over_folders(tmp_path: Path) -> None:
    make(tmp_path, "Annotations/a.xml", "JPEGImages/a.png", *in_folder("train"))
    write_lists(tmp_path, train="a\n")
    report = ReadReport()
    assert names(read_voc(tmp_path, "train", report)) == ["JPEGImages/a.png"]
    assert str(tmp_path / "train") in report.warnings[0]


@pytest.mark.parametrize("place", ["ImageSets/Main", "imagesets/main", "ImageSets", "."])
def test_places_of_lists(tmp_path: Path, place: str) -> None:
    make(tmp_path, "Annotations/a.xml", "Annotations/b.xml", "JPEGImages/a.png", "JPEGImages/b.png")
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "Train.txt").write_text("a\n")
    (tmp_path / place / "Validation.txt").write_text("b\n")
    assert names(read_voc(tmp_path, "train")) == ["JPEGImages/a.png"]
    assert names(read_voc(tmp_path, "val")) == ["JPEGImages/b.png"]


@pytest.mark.parametrize("more", [{}, {"cat_default": "a 1\nb -1\n"}])
def test_a_list_of_everything(tmp_path: Path, more: dict[str, str]) -> None:
    make(tmp_path, "Annotations/a.xml", "Annotations/b.xml", "JPEGImages/a.png", "JPEGImages/b.png")
    write_lists(tmp_path, default="b\na\n", **more)
    assert len(read_voc(tmp_path, "train")) == 2
    assert "it has train (all of it" in fails(tmp_path, split="val")


def test_lists_of_classes_are_not_named_among_the_splits(tmp_path: Path) -> None:
    make(tmp_path, "Annotations/a.xml", "JPEGImages/a.png")
    write_lists(tmp_path, train="a\n", trainval="a\n", cat_train="a 1\n", my_own="a\n")
    assert "no 'val': it has my_own, train, trainval;" in fails(tmp_path, split="val")


@pytest.mark.parametrize("name", ["{}_list.txt", "{}.txt"])
def test_lists_of_pairs(tmp_path: Path, name: str) -> None:
    make(tmp_path, "Annotations/a.xml", "JPEGImages/a.png", "Annotations/b.xml", "JPEGImages/b.png")
    for split, stem in (("train", "a"), ("val", "b")):
        (tmp_path / name.format(split)).write_text(f"./JPEGImages/{stem}.png ./Annotations/{stem}.xml\n")
        assert names(read_voc(tmp_path, split)) == [f"JPEGImages/{stem}.png"]


def test_masks_in_the_folder_of_annotations(tmp_path: Path) -> None:
    make(tmp_path, "annotations/xmls/a.xml", "annotations/trimaps/a.png", "images/a.png", "images/c.png")
    report = ReadReport()
    assert names(read_voc(tmp_path, "train", report)) == ["images/a.png"]
    assert "1 of 2 images have no annotation file" in report.warnings[0]


def test_an_empty_folder_of_lists_does_not_count(tmp_path: Path) -> None:
    make(tmp_path, *FLAT)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    assert len(read_voc(tmp_path, "train")) == 2


def test_a_warning_of_a_part_without_lists(tmp_path: Path) -> None:
    make(tmp_path, "VOC2007/Annotations/a.xml", "VOC2007/JPEGImages/a.png")
    make(tmp_path, "more/Annotations/b.xml", "more/JPEGImages/b.png")
    write_lists(tmp_path / "VOC2007", train="a\n")
    report = ReadReport()
    assert len(read_voc(tmp_path, "train", report)) == 2
    assert report.warnings[0].startswith(f"{tmp_path / 'more' / 'Annotations'}: has no lists of splits")


@pytest.mark.parametrize(
    ("name", "split", "images", "boxes", "classes"),
    [
        ("cards", "train", 296, 527, 6),
        ("cards", "test", 67, 143, 6),
        ("microcontrollers", "train", 142, 170, 4),
        ("microcontrollers", "test", 7, 7, 4),
    ],
)
def test_real_sets(name: str, split: str, images: int, boxes: int, classes: int) -> None:
    folder = shared(name)
    report = ReadReport()
    index = read_voc(folder, split, report)
    assert (len(index), len(index.boxes), len(index.names)) == (images, boxes, classes)
    assert report.left_out == report.warnings == []
    texts = [file.read_text() for file in sorted((folder / split).glob("*.xml"))]
    assert sum(text.count("<bndbox>") for text in texts) == boxes
    assert all(index.path(i).parent == folder / split for i in range(images))


def test_a_broken_file_of_another_split_does_not_stop_this_one(tmp_path: Path) -> None:
    make(tmp_path, *in_folder("train"), *in_folder("test"))
    (tmp_path / "test" / "a.xml").write_text("<annotation><object>")
    assert len(read_voc(tmp_path, "train")) == 2
    assert "broken XML" in fails(tmp_path, AnnotationError, split="test")


@pytest.mark.parametrize("given", [".", ".."])
def test_the_folder_of_annotations_is_given_without_its_name(
    tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "Annotations/x/a.xml", "Annotations/b.xml", "JPEGImages/b.png")
    monkeypatch.chdir(tmp_path / ("Annotations" if given == "." else "Annotations/x"))
    index = read_voc(Path(given), "train")
    assert [index.path(i).resolve() for i in range(len(index))] == [tmp_path.resolve() / "JPEGImages" / "b.png"]


@pytest.mark.parametrize("given", [".", ".."])
def test_the_folder_of_a_split_is_given_without_its_name(
    tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "valid/b.xml", "valid/b.png")
    (tmp_path / "valid" / "x").mkdir()
    monkeypatch.chdir(tmp_path / ("valid" if given == "." else "valid/x"))
    assert len(read_voc(Path(given), "val")) == 1
