"""VOC annotation files as tools write them."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from paa.data.formats.voc.read import level
from paa.data.formats.voc.xml import read_annotation
from paa.data.read import read_dataset
from paa.data.read_report import ReadReport
from paa.errors import AnnotationError, DataError
from tests.data.data_files import write_image
from tests.data.formats.voc.voc_files import fails, read_voc

BOX = "<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
SIZE = "<size><width>80</width><height>60</height></size>"


def text(name: str = "cat", declaration: str = "", more: str = "", box: str = BOX) -> str:
    return f"{declaration}<annotation>{SIZE}<object><name>{name}</name>{more}{box}</object></annotation>"


def write(folder: Path, content: bytes, name: str = "a.xml") -> Path:
    (folder / name).write_bytes(content)
    write_image(folder / "a.png")
    return folder


@pytest.mark.parametrize(
    ("encoding", "declared", "name"),
    [
        ("utf-8", "", "chat é"),
        ("utf-8", "UTF-8", "猫"),
        ("gb2312", "gb2312", "猫"),
        ("gbk", "gbk", "貓"),
        ("gbk", "gb2312", "貓"),  # what the narrower set lacks
        ("gb18030", "GB18030", "猫"),
        ("big5", "Big5", "貓"),
        ("shift_jis", "Shift_JIS", "ネコ"),
        ("euc_jp", "EUC-JP", "ネコ"),
        ("euc_kr", "euc-kr", "고양이"),
        ("cp1252", "windows-1252", "größe"),
        ("cp1251", "windows-1251", "кот"),
        ("latin-1", "ISO-8859-1", "chaîne"),
        ("koi8-r", "KOI8-R", "кот"),
        ("utf-16", "utf-16", "猫"),
        ("utf-16", "", "猫"),
        ("utf-16-le", "utf-16", "猫"),
        ("utf-16-be", "UTF-16", "猫"),
        ("utf-32", "", "猫"),
        ("utf-8-sig", "utf-8", "猫"),
        ("utf-8-sig", "utf-16", "猫"),
        ("utf-8", "utf-16", "猫"),  # .NET declares what its strings are in memory
    ],
)
def test_encodings(tmp_path: Path, encoding: str, declared: str, name: str) -> None:
    declaration = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    write(tmp_path, text(name, declaration).encode(encoding))
    assert level(tmp_path) == 0
    index = read_voc(tmp_path, "train")
    assert index.names == (name,)
    assert index.boxes.tolist() == [[10, 20, 30, 40]]


@pytest.mark.parametrize(
    "content",
    [
        '\n  <?xml version="1.0"?>' + text(),
        "<!-- made by hand --><!DOCTYPE annotation>" + text(),
        '<annotation xmlns="http://host/voc">' + text().removeprefix("<annotation>"),
        '<v:annotation xmlns:v="http://host/voc">'
        + text().removeprefix("<annotation>").replace("</", "</v:").replace("<", "<v:").replace("<v:/v:", "</v:"),
        text().upper().replace("CAT", "cat"),
        text() + "\n\0\0\0",
        text().replace("><", ">\r\n\t<"),
        text("  cat\n"),
        text().replace("11", "11.0").replace("<annotation>", '<annotation verified="yes">'),
    ],
)
def test_forms(tmp_path: Path, content: str) -> None:
    index = read_voc(write(tmp_path, content.encode()), "train")
    assert index.names == ("cat",)
    assert index.boxes.tolist() == [[10, 20, 30, 40]]


@pytest.mark.parametrize("name", ["a.XML", "a.Xml", "a.png.xml", "A.xml"])
def test_names_of_the_file(tmp_path: Path, name: str) -> None:
    index = read_voc(write(tmp_path, text().encode(), name), "train")
    assert index.path(0) == tmp_path / "a.png"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        text().encode()[:-30],
        text().encode()[:20],
        text("cat & dog").encode(),
        text("chat é").encode("latin-1"),
        text("狗").encode("gbk"),
        text(declaration='<?xml version="1.0" encoding="klingon"?>').encode(),
        codecs.BOM_UTF16_LE + b"<\0a",
        text().encode() + text().encode(),
        bytes(100),
    ],
)
def test_broken_files(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, content)
    write_image(tmp_path / "b.png")
    (tmp_path / "b.xml").write_text(text("dog"))
    message = fails(tmp_path, AnnotationError)
    assert message.startswith(f"{tmp_path / 'a.xml'}: broken XML: ")
    assert message.endswith("--skip-bad")
    report = ReadReport(skip_bad=True)
    index = read_voc(tmp_path, "train", report)
    assert [index.path(i).name for i in range(len(index))] == ["b.png"]  # a.png has no known objects: left out too
    assert len(report.left_out) == 1
    assert report.warnings == []


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("1", True),
        ("true", True),
        ("True", True),
        ("YES", True),
        (" 1 ", True),
        ("1.0", True),
        ("2", True),
        ("0", False),
        ("false", False),
        ("No", False),
        ("", False),
        ("Unspecified", False),
        ("0.0", False),
    ],
)
def test_difficult(tmp_path: Path, word: str, expected: bool) -> None:
    report = ReadReport()
    index = read_voc(write(tmp_path, text(more=f"<difficult>{word}</difficult>").encode()), "train", report)
    assert index.crowd.tolist() == [expected]
    assert report.warnings == []


def test_an_unknown_word_for_difficult(tmp_path: Path) -> None:
    report = ReadReport()
    index = read_voc(write(tmp_path, text(more="<difficult>hard</difficult>").encode()), "train", report)
    assert index.crowd.tolist() == [False]
    assert report.warnings == [
        f"{tmp_path}: 1 objects have a `difficult` that is neither 0 nor 1, for example a.xml object 1"
    ]


@pytest.mark.parametrize(
    ("box", "says"),
    [
        (
            "<robndbox><cx>20</cx><cy>30</cy><w>9</w><h>5</h><angle>0.3</angle></robndbox>",
            "is a rotated box (robndbox)",
        ),
        ("<polygon><pt><x>1</x><y>1</y></pt></polygon>", "has no bndbox"),
        ("", "has no bndbox"),
        ("<bndbox/>", "has no usable bndbox"),
        ("<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax></bndbox>", "has no usable bndbox"),
        (BOX.replace("11", "1,5"), "has no usable bndbox"),
    ],
)
def test_objects_without_an_upright_box(tmp_path: Path, box: str, says: str) -> None:
    content = text().replace("</object>", f"</object><object><name>dog</name>{box}</object>")
    message = fails(write(tmp_path, content.encode()), AnnotationError)
    assert f"a.xml object 2 {says}" in message
    report = ReadReport(skip_bad=True)
    assert read_voc(tmp_path, "train", report).boxes.tolist() == [[10, 20, 30, 40]]
    assert len(report.left_out) == 1


def test_a_rotated_box_beside_an_upright_one(tmp_path: Path) -> None:
    box = BOX + "<robndbox><cx>20</cx><cy>30</cy><w>9</w><h>5</h><angle>0.3</angle></robndbox>"
    assert read_voc(write(tmp_path, text(box=box).encode()), "train").boxes.tolist() == [[10, 20, 30, 40]]


@pytest.mark.parametrize("size", ["inf", "nan", "-80", "", "eighty", "0"])
def test_an_invalid_size(tmp_path: Path, size: str) -> None:
    content = text().replace("<width>80", f"<width>{size}")
    assert read_voc(write(tmp_path, content.encode()), "train").sizes.tolist() == [[60, 80]]


@pytest.mark.parametrize("size", ["800", "60", "1e300", "81"])
def test_a_size_that_is_not_the_images(tmp_path: Path, size: str) -> None:
    content = text().replace("<width>80", f"<width>{size}")
    write(tmp_path, content.encode())
    write_image(tmp_path / "b.png")
    (tmp_path / "b.xml").write_text(text())
    report = ReadReport(skip_bad=True)
    assert len(read_voc(tmp_path, "train", report)) == 1
    assert "a.png: is 60 high and 80 wide as shown, its annotations say 60 high and" in report.left_out[0]


def test_classes_that_differ_in_capitals(tmp_path: Path) -> None:
    content = text().replace("</object>", f"</object><object><name>Cat</name>{BOX}</object>")
    report = ReadReport()
    assert read_voc(write(tmp_path, content.encode()), "train", report).names == ("Cat", "cat")
    assert report.warnings == [f"{tmp_path}: the classes 'Cat' and 'cat' differ in capitals only; are they the same?"]


@pytest.mark.parametrize("encoding", ["ANSI", "undefined", "hex", "zlib"])
def test_an_unknown_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    write(tmp_path, f'<?xml version="1.0" encoding="{encoding}"?>{text()}'.encode())
    with pytest.raises(AnnotationError, match=r"\.xml: broken XML: .*encod"):
        read_dataset(tmp_path)


ENTITIES = {
    "a bomb": '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12)),
    "a long entity, repeated": f'<!ENTITY a11 "{"x" * 200_000}">',
    "an external entity": '<!ENTITY a11 SYSTEM "secret.txt">',
    "an external entity by its address": '<!ENTITY a11 SYSTEM "http://127.0.0.1:9/secret">',
    "a parameter entity": '<!ENTITY % a SYSTEM "secret.txt"> %a;',
}


@pytest.mark.parametrize("entities", ENTITIES.values(), ids=ENTITIES)
def test_entities_fill_no_memory_and_read_no_file(tmp_path: Path, entities: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    file = tmp_path / "a.xml"
    repeated = "&a11;" * 2000
    file.write_text(f"<!DOCTYPE annotation [{entities}]><annotation><filename>{repeated}</filename></annotation>")
    with pytest.raises(DataError, match=f"^{file}: broken XML: it declares entities, which are not read$"):
        read_annotation(file)


def test_an_external_definition_is_not_fetched(tmp_path: Path) -> None:
    file = tmp_path / "a.xml"
    file.write_text('<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/x.dtd"><annotation/>')
    annotation = read_annotation(file)
    assert annotation is not None
    assert annotation.objects == []
