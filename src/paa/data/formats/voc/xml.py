"""A VOC annotation file: XML as many tools write it."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from paa.data.files.text import marked_encoding, read_head
from paa.errors import DataError, one_line

_ENCODING = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)""")
_ROOT = re.compile(r"<(?:[\w.-]+:)?(\w+)")
_PROLOGUE = re.compile(r"<!--.*?-->|<\?.*?\?>|<![^>]*>", re.DOTALL)
_WIDER = {  # by the declared character set, the wider one that such files are really written in
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "big5": "cp950",
    "euc_kr": "cp949",
}
_TRUE = frozenset({"1", "true", "yes", "y", "t"})
_FALSE = frozenset({"", "0", "false", "no", "n", "f", "unspecified", "none"})
_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class VocObject:
    """An object. box: xmin, ymin, xmax, ymax as in the file; None if they cannot be used, and `problem` says why.

    difficult: None for an unknown word.
    """

    name: str | None
    difficult: bool | None
    box: list[float] | None
    problem: str


@dataclass(frozen=True)
class Annotation:
    """The content of an annotation file. size: (height, width), None where it is not given.

    filename, path: of the image, as the file has them; "" where it does not.
    """

    file: Path
    size: tuple[int, int] | None
    objects: list[VocObject]
    filename: str
    path: str


def is_voc(file: Path) -> bool:
    """Return whether the root element is <annotation>, from the beginning of the file alone."""
    head = read_head(file)
    try:
        text = head.decode(_encoding(head), "ignore")
    except (LookupError, ValueError):  # an unknown encoding, which `read_annotation` reports
        text = head.decode("latin-1")
    match = _ROOT.search(_PROLOGUE.sub("", text))
    return match is not None and match.group(1).lower() == "annotation"


def read_annotation(file: Path) -> Annotation | None:
    """Return an annotation file's content, None if its root is not <annotation>. Raises DataError if it is broken."""
    try:
        text = decode_xml(file.read_bytes())
        if "<!ENTITY" in text:  # a few of which can stand for a text of gigabytes
            raise ValueError("it declares entities, which are not read")
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        raise DataError(f"{file}: broken XML: {one_line(error)}") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2].lower()
    if root.tag != "annotation":
        return None
    size = _floats([root.findtext("size/height"), root.findtext("size/width")])
    known = size is not None and all(math.isfinite(side) and side >= 1 for side in size)  # some tools write 0
    return Annotation(
        file=file,
        size=(int(min(size[0], _LARGEST)), int(min(size[1], _LARGEST))) if size and known else None,
        objects=[_object(item) for item in root.findall("object")],
        filename=(root.findtext("filename") or "").strip(),
        path=(root.findtext("path") or "").strip(),
    )


def decode_xml(content: bytes) -> str:
    """Return the text of an XML file, decoded by its byte order mark, else by its declaration; UTF-8 without either.

    Decoded here because the parser knows no encodings with several bytes for a character but UTF-8 and UTF-16. Raises
    UnicodeDecodeError and LookupError (an unknown encoding).
    """
    return content.decode(_encoding(content)).strip("\ufeff\0 \t\r\n")


def _encoding(content: bytes) -> str:
    if (marked := marked_encoding(content)) is not None:
        return marked
    if content.startswith((b"<\0", b"\0<")):
        return "utf-16-le" if content.startswith(b"<") else "utf-16-be"
    match = _ENCODING.match(content[:256])
    name = codecs.lookup(match.group(1).decode()).name if match else "utf-8"
    if name.startswith(("utf-16", "utf-32")):  # declared, but not written: a character has one byte
        return "utf-8"
    return _WIDER.get(name, name)


def _object(item: ElementTree.Element) -> VocObject:
    name = (item.findtext("name") or "").strip() or None
    found = item.find("bndbox")
    corners = {} if found is None else {side.tag: side.text for side in reversed(found)}
    box, problem = _floats([corners.get(side) for side in ("xmin", "ymin", "xmax", "ymax")]), ""
    if box is None:
        if found is not None:
            problem = "has no usable bndbox"
        elif item.find("robndbox") is not None:
            problem = "is a rotated box (robndbox), and has no upright one (bndbox)"
        else:
            problem = "has no bndbox"
    return VocObject(name, _truth(item.findtext("difficult")), box, problem if name else "has no name")


def _truth(text: str | None) -> bool | None:
    word = (text or "").strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    number = _floats([word])
    return None if number is None or math.isnan(number[0]) else number[0] != 0


def _floats(texts: Sequence[str | None]) -> list[float] | None:
    try:
        return [float(text or "") for text in texts]
    except ValueError:
        return None
