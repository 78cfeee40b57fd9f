"""Mutators for `fuzz.py`: changes to a file that keep its structure, so that they get past the parser."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

Mutator = Callable[[bytes, random.Random], bytes]
"""Returns a changed file; where the file cannot be parsed, it may change single bytes."""

NUMBERS = (0, 1, -1, 2, 0.5, -0.5, 1e-9, 1e308, -1e308, 2**31, 2**53, 2**63, -(2**63), 2**64, 10**30)
NAMES = (
    *("", "a.png", "b.png", "images/a.png", "A.PNG", "cat", "dog", "train", "val", "images", "../images/a.png"),
    *("../secret.png", "../../secret.png", "images/../../secret.png", "/etc/passwd", "/", "..", ".", "~", "//", "\\"),
    *("..\\secret.png", "C:\\a.png", "C:a.png", "\\\\host\\share\\a.png", "http://host/a.png", "file:///etc/passwd"),
    *("a\0b.png", "\ud800", "\u202e", "a\nb.png", "%2e%2e/secret.png", "nan", "inf", "1e400", "é", "é", "x" * 300),
    *("link/secret.png", "link", "images/linked.png", "null", "true", "0", "-1"),
)
"""Texts that readers may stumble over, paths that leave the folder among them."""

VALUES: tuple[Any, ...] = (*NUMBERS, *NAMES, None, True, False, [], {}, [0, 0, 1, 1], float("nan"), float("inf"))

_TOKENS = tuple(name.encode("utf-8", "surrogatepass") for name in NAMES if name)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change, insert, remove or repeat some bytes."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(content) + 1)
        length = min(rng.choice((1, 1, 2, 4, 16, 64)), len(content) - at)
        match rng.randrange(7):
            case 0 if at < len(content):
                content[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(content):
                content[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                content[at:at] = rng.randbytes(rng.choice((1, 2, 4, 8)))
            case 3:
                del content[at : at + length]
            case 4:
                content[at:at] = content[at : at + length] * rng.choice((1, 1, 2, 16))
            case 5:
                content[at:at] = rng.choice(_TOKENS)
            case _:
                del content[at:]
    return bytes(content)


def or_bytes(mutator: Mutator) -> Mutator:
    """Return a mutator that changes bytes where the given one fails, as for a file that cannot be parsed, or rarely."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        try:
            return mutate_bytes(data, rng) if rng.random() < 0.15 else mutator(data, rng)
        except Exception:  # of any kind, as parsers raise
            return mutate_bytes(data, rng)

    return mutate


@or_bytes
def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """Change the tree of a JSON file."""
    return json.dumps(mutate_tree(json.loads(data), rng)).encode()


def mutate_tree(tree: Any, rng: random.Random) -> Any:
    """Change some places of a tree of dictionaries and lists, in place where it can be."""
    holder = [tree]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(holder))[:2000]
        parent, key = rng.choice(places)
        _change(
            parent, key, rng, [value for each, at in rng.sample(places, min(3, len(places))) for value in [each[at]]]
        )
    return holder[0]


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield container and key of every value below a node."""
    keys: Sequence[Any] = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from _places(node[key])


def _change(parent: Any, key: Any, rng: random.Random, others: Sequence[Any]) -> None:
    value = parent[key]
    match rng.randrange(8):
        case 0 | 1 | 2:
            parent[key] = copy.copy(rng.choice(VALUES))
        case 3:
            parent[key] = copy.deepcopy(rng.choice(others))
        case 4 if isinstance(parent, dict):
            del parent[key]
        case 4 if len(parent) > 1:
            parent.pop(key)
        case 5 if isinstance(parent, list):
            parent.extend(copy.deepcopy([value] * rng.choice((1, 2, 20))))
        case 5:
            parent[rng.choice(NAMES)] = copy.deepcopy(value)
        case 6:
            parent[key] = _varied(value, rng)
        case _:
            parent[key] = rng.choice(([value], {"id": value}, str(value)[:1000], [value, value]))


def _varied(value: Any, rng: random.Random) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, (int, float)):
        return rng.choice(
            (value + 1, -value, value * 1000, value / 3, str(value), float(value) if abs(value) < 1e300 else 0)
        )
    if isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        return value[:at] + rng.choice((*NAMES, "/", "\n", " ", ".")) + value[at + rng.randrange(3) :]
    return list(value.values()) if isinstance(value, dict) else dict(enumerate(map(str, value)))


_MARKUP = (
    '<!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
    '<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    '<!DOCTYPE annotation SYSTEM "http://127.0.0.1/x.dtd">',
    '<?xml version="1.0" encoding="gbk"?>',
    '<?xml version="1.0" encoding="utf-16"?>',
    '<?xml version="1.0" encoding="unknown"?>',
    *("&a;", "&b;", "&#0;", "&#x110000;", "<![CDATA[", "]]>", "<!--", "-->", "\ufeff"),
)
_TAGS = (
    "annotation",
    "object",
    "name",
    "bndbox",
    "robndbox",
    "xmin",
    "ymax",
    "size",
    "width",
    "filename",
    "path",
    "difficult",
)


@or_bytes
def mutate_xml(data: bytes, rng: random.Random) -> bytes:
    """Change the tree of an XML file, or its markup."""
    if rng.random() < 0.15:
        text = data.decode("utf-8", "replace")
        at = rng.choice((0, rng.randrange(len(text) + 1)))
        return (text[:at] + rng.choice(_MARKUP) + text[at:]).encode("utf-8", "replace")
    root = ElementTree.fromstring(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        nodes = list(root.iter())
        node, other = rng.choice(nodes), rng.choice(nodes)
        match rng.randrange(6):
            case 0 | 1:
                node.text = str(rng.choice(VALUES)).replace("\0", "")
            case 2:
                node.tag = rng.choice(_TAGS)
            case 3 if len(node):
                node.remove(rng.choice(list(node)))
            case 4 if len(nodes) < 500:
                node.append(copy.deepcopy(other))
            case _:
                node.text = str(_varied(node.text or "", rng)).replace("\0", "")
    return ElementTree.tostring(
        root, rng.choice(("utf-8", "utf-8", "utf-16", "latin-1")), xml_declaration=rng.random() < 0.3
    )


@or_bytes
def mutate_lines(data: bytes, rng: random.Random) -> bytes:
    """Change words and lines of a text."""
    lines = data.split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        words = lines[at].split(b" ")
        match rng.randrange(6):
            case 0 | 1:
                words[rng.randrange(len(words))] = _text(rng)
            case 2:
                words.insert(rng.randrange(len(words) + 1), _text(rng))
            case 3:
                words = words[: rng.randrange(len(words) + 1)]
            case 4:
                words = words * 2
            case _:
                lines.insert(at, rng.choice(lines))
        lines[at] = b" ".join(words)
    return b"\n".join(lines)


def _text(rng: random.Random) -> bytes:
    return str(rng.choice(VALUES)).encode("utf-8", "replace")


SEPARATOR = b"\n=====\n"
"""Stands between the files of an input that has several."""


def several(*mutators: Mutator) -> Mutator:
    """Return a mutator of several files, one of which it changes."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        files = data.split(SEPARATOR)
        at = rng.randrange(len(files))
        files[at] = mutators[min(at, len(mutators) - 1)](files[at], rng).replace(SEPARATOR, b"")
        return SEPARATOR.join(files)

    return mutate


def mutate_yaml(data: bytes, rng: random.Random) -> bytes:
    """Change a YAML file: its lines, or where it is written as JSON, which is YAML too, its tree."""
    return mutate_json(data, rng) if data.startswith(b"{") else mutate_lines(data, rng)


@or_bytes
def mutate_image(data: bytes, rng: random.Random) -> bytes:
    """Change the chunks of a PNG with their checksums, and any other image's bytes, mostly near its start."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and rng.random() < 0.7:
        return _mutate_png(data, rng)
    if rng.random() < 0.5:
        head = min(len(data), 160)
        return mutate_bytes(data[:head], rng) + data[head:]
    return mutate_bytes(data, rng)


def _mutate_png(data: bytes, rng: random.Random) -> bytes:
    chunks, place = [], 8
    while place + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    at = rng.randrange(len(chunks))
    kind, content = chunks[at]
    match rng.randrange(5):
        case 0:
            chunks.insert(at, chunks[rng.randrange(len(chunks))])
        case 1:
            del chunks[at]
        case 2:
            chunks[at] = (rng.choice((b"tRNS", b"eXIf", b"iCCP", b"acTL", b"fcTL", b"PLTE", b"gAMA", b"zTXt")), content)
        case 3 if kind == b"IDAT":
            with_rows = zlib.compress(rng.randbytes(rng.choice((0, 10, 1000))))
            chunks[at] = (kind, with_rows)
        case _:
            chunks[at] = (kind, mutate_bytes(content, rng))
    return data[:8] + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


@or_bytes
def mutate_checkpoint(data: bytes, rng: random.Random) -> bytes:
    """Change an entry of torch's archive, the header of a safetensors file, or any other file's bytes."""
    if data.startswith(b"PK"):
        return _mutate_zip(data, rng)
    if data[8:9] == b"{":
        return mutate_safetensors(data, rng)
    return mutate_bytes(data, rng)


def _mutate_zip(data: bytes, rng: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    at = next((i for i, (name, _) in enumerate(entries) if name.endswith("data.pkl")), 0)
    if rng.random() < 0.2:
        at = rng.randrange(len(entries))
    name, content = entries[at]
    match rng.randrange(8):
        case 0:
            entries[at] = (
                rng.choice(("x/data.pkl", "x/data/0", "../../data.pkl", "archive/version", "x/byteorder")),
                content,
            )
        case 1:
            entries.append(entries[rng.randrange(len(entries))])
        case _:
            entries[at] = (name, mutate_bytes(content, rng))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content)
    return target.getvalue()


@or_bytes
def mutate_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Change the header of a safetensors file, JSON within JSON too, or its body."""
    (length,) = struct.unpack_from("<Q", data)
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    facts = header["__metadata__"]
    match rng.randrange(4):
        case 0 | 1:
            key = rng.choice(list(facts))
            facts[key] = json.dumps(mutate_tree(json.loads(facts[key]), rng))
        case 2:
            header = mutate_tree(header, rng)
        case _:
            body = mutate_bytes(body, rng)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@or_bytes
def mutate_request(data: bytes, rng: random.Random) -> bytes:
    """Change the address, a header or the body of an HTTP request."""
    head, blank, body = data.partition(b"\r\n\r\n")
    if rng.random() < 0.5:
        body = mutate_json(body, rng) if body.startswith((b"[", b"{")) else mutate_bytes(body, rng)
    else:
        lines = head.split(b"\r\n")
        at = rng.randrange(len(lines))
        match rng.randrange(5):
            case 0:
                lines.insert(at + 1, rng.choice(_HEADERS))
            case 1 if len(lines) > 1:
                del lines[at]
            case 2:
                lines[0] = b"POST /predict?" + rng.choice(_QUERIES)
            case _:
                lines[at] = mutate_bytes(lines[at], rng)
        head = b"\r\n".join(lines)
    return head + blank + body


_HEADERS = (
    *(b"content-type: application/json", b"content-type: multipart/form-data", b"content-type: text/plain"),
    *(b"content-type: multipart/form-data; boundary=", b"content-type: multipart/form-data; boundary=x; charset=zzz"),
    *(b"content-length: -1", b"content-length: 99999999999", b"origin: http://evil", b"sec-fetch-site: cross-site"),
    *(b"host: evil", b"host: [", b"origin: http://[", b"transfer-encoding: chunked", b"accept: \xff"),
)
_QUERIES = (
    *(b"threshold=nan", b"threshold=1e400", b"threshold=-1", b"classes=cat&classes=", b"classes=\xff", b"voting=maybe"),
    *(b"x=1", b"threshold=0.5&threshold=2", b"voting=1", b"classes=%00", b"&&&=%zz"),
)
