"""A checkpoint file -> plain values and tensors; nothing in it can run code or take memory out of proportion to it."""

from __future__ import annotations

import io
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from paa.errors import CheckpointError
from paa.runtime.urls import nothing_at
from paa.weights.foreign import describe_archive
from paa.weights.pickles import STORAGES, Maker, check_left, checked_key, short, take, unpickle


class FileContent(NamedTuple):
    """What a checkpoint file holds.

    values: dictionaries, lists, tuples, strings, bytes, numbers, None, and tensors on the CPU; parameters and arrays
    are tensors too, and what only other programs could make of the file is None. metadata: of a safetensors file,
    otherwise empty. kind: "torch", "pickle" or "safetensors".
    """

    values: dict[str, Any]
    metadata: dict[str, str]
    kind: str


def read_file(path: Path) -> FileContent:
    """Read a checkpoint of torch (zip and legacy), a pickle of arrays, or safetensors, whatever its name ends with.

    CheckpointError if there is no such file, or it is none of these, damaged, or would run code.
    """
    if not path.is_file():
        raise CheckpointError(_no_file(path))
    try:
        with path.open("rb") as file:
            content = _read(file)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or type(error).__name__})") from error
    except Exception as error:  # a damaged file can make a reader fail in any way
        raise CheckpointError(
            f"{path}: damaged, or no checkpoint ({short(f'{type(error).__name__}: {error}')})"
        ) from error
    if not isinstance(content.values, dict):
        what = f"holds a {type(content.values).__name__}, not a checkpoint"
        raise CheckpointError(f"{path}: {what}: that is a dictionary of named tensors, as model.state_dict() gives it")
    if not all(isinstance(name, str) for name in content.values):
        raise CheckpointError(f"{path}: holds a dictionary with keys that are no names, not a checkpoint")
    return content


def _no_file(path: Path) -> str:
    """Return what is wrong with a path that is no file, and the file that may be meant."""
    if not path.is_dir():
        return nothing_at(path, "file")
    meant = next((path / name for name in _IN_FOLDERS if (path / name).is_file()), None)
    return f"{path}: a folder, not a file" + (f": name the file in it, {meant}" if meant else "")


_IN_FOLDERS = ("best.pt", "last.pt", "model.safetensors")
"""Checkpoints in the folder of a run, and the model in one of the Hugging Face hub's."""

_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file it points to (git lfs pull fetches it)",
    b"<": "a web page (HTML or XML), not a checkpoint: open its address to see what it says",
    b"\x89PNG": "an image, not a checkpoint",
    b"\xff\xd8\xff": "an image, not a checkpoint",
    b"GIF8": "an image, not a checkpoint",
    b"\x1f\x8b": "compressed (gzip), not a checkpoint: unpack it first",
    b"\x89HDF": "an HDF5 file (of Keras), not a checkpoint of PyTorch",
}
"""What files of other kinds begin with; no dictionary's pickle begins so."""

_ONNX = re.compile(rb"\x08[\x01-\x1f]\x12.[\w.-]{3}", re.DOTALL)  # its version, and a name of what wrote it

_MAGIC = 0x1950A86A20F9469CFC6C  # the first of the pickles of torch's legacy format


def _read(file: BinaryIO) -> FileContent:
    head = file.read(4096)
    file.seek(0)
    if not head:
        raise CheckpointError("an empty file")
    if head.startswith(b"PK\x03\x04"):
        return FileContent(_read_zip(file), {}, "torch")
    if head[4:9] == b"\0\0\0\0{":  # the upper half of a header's length, below 4 GB, and the header
        return _read_safetensors(file)
    for start, what in _OTHERS.items():
        if head.lstrip().startswith(start):
            raise CheckpointError(what)
    if _ONNX.match(head):
        raise CheckpointError("an ONNX model, not a checkpoint: name the file that it was exported from")
    try:
        tree, _ = unpickle(file)
        if tree == _MAGIC:
            return FileContent(_read_legacy(file), {}, "torch")
        return FileContent(Maker({}, file.tell()).make(tree), {}, "pickle")
    except CheckpointError:
        raise
    except Exception as error:  # pickles of protocol 0 are texts too, so only what cannot be read is called a text
        text = head[:4000].decode("utf-8", "replace")
        if "\ufffd" not in text and "".join(text.split()).isprintable():
            raise CheckpointError("a text, not a checkpoint") from error
        raise


def _read_safetensors(file: BinaryIO) -> FileContent:
    with safe_open(file.name, framework="pt") as opened:
        # copies, as what it gives are views of the file, which would follow changes of it
        values = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
        metadata = opened.metadata() or {}
    for name, tensor in values.items():
        if tensor.is_complex():
            raise CheckpointError(f"the tensor {short(name)} is complex")
    return FileContent(values, metadata, "safetensors")


def _read_zip(file: BinaryIO) -> Any:
    """Read what torch.save writes today: a folder with the pickle data.pkl, and each storage's bytes in data/KEY."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    size = file.seek(0, os.SEEK_END)
    if what := describe_archive([entry.filename for entry in entries]):
        raise CheckpointError(what)
    if any(e.compress_type != zipfile.ZIP_STORED or e.compress_size != e.file_size for e in entries):
        raise CheckpointError("compressed: a zip archive, but not one of torch")
    if sum(entry.file_size for entry in entries) > size:
        raise CheckpointError("damaged: its entries are larger than the file")
    pickles = [entry for entry in entries if entry.filename.partition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise CheckpointError("a zip archive, but not one of torch")
    folder = pickles[0].filename.removesuffix("data.pkl")
    storages = {}
    for entry in entries:
        if entry.filename.startswith(f"{folder}data/"):
            storages[entry.filename.removeprefix(f"{folder}data/")] = _read_entry(file, entry)
        if entry.filename == f"{folder}byteorder" and _read_entry(file, entry).numpy().tobytes() != b"little":
            raise CheckpointError("its numbers are not little-endian: save it again on another machine")
    tree, _ = unpickle(io.BytesIO(_read_entry(file, pickles[0]).numpy().tobytes()))
    return Maker(storages, size).make(tree)


def _read_entry(file: BinaryIO, entry: zipfile.ZipInfo) -> Tensor:
    """Read an uncompressed entry in place: zipfile would copy it, and torch can be told to write no checksums."""
    file.seek(entry.header_offset + 26)
    name_length, extra_length = struct.unpack("<HH", take(file, 4))
    file.seek(name_length + extra_length, os.SEEK_CUR)
    data = _read_bytes(file, entry.file_size)
    if entry.CRC and zlib.crc32(data.numpy().data) != entry.CRC:
        raise CheckpointError("damaged: a checksum in it is wrong; download or copy it again")
    return data


def _read_legacy(file: BinaryIO) -> Any:
    """Read the rest of what torch.save wrote before 1.6: pickles in a row, then the storages, each after its length."""
    version, _ = unpickle(file)
    if version != 1001:
        raise CheckpointError("of an unknown version of torch's legacy format")
    unpickle(file)  # the sizes of C's types where it was written
    tree, persistent = unpickle(file)
    keys, _ = unpickle(file)
    dtypes = {checked_key(call.arguments[2]): STORAGES[call.arguments[1].name] for call in persistent}
    storages = {}
    for key in keys:
        (count,) = struct.unpack("<q", take(file, 8))
        storages[key] = _read_bytes(file, count * dtypes[checked_key(key)].itemsize)
    return Maker(storages, file.tell()).make(tree)


def _read_bytes(file: BinaryIO, count: int) -> Tensor:
    """Read that many bytes into a tensor of their own."""
    check_left(file, count)
    data = torch.empty(count, dtype=torch.uint8, device="cpu")
    if file.readinto(data.numpy()) != count:  # type: ignore[attr-defined]
        raise EOFError("cut short")
    return data
