"""Read a checkpoint file as plain values and tensors; no file can run code, or take much more memory than its size."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from paa.errors import CheckpointError
from paa.runtime.urls import nothing_at
from paa.weights.pickle_values import Maker, checked_key
from paa.weights.pickles import STORAGES, unpickle
from paa.weights.read_bytes import check_left, short, take
from paa.weights.unsupported import describe_archive, describe_start


class FileContent(NamedTuple):
    """What a checkpoint file holds.

    values: dictionaries, lists, tuples, strings, bytes, numbers, None, and tensors on the CPU; parameters and arrays
    are tensors too, and objects of other programs are None. metadata: that of a safetensors file, otherwise empty.
    kind: "torch", "pickle" or "safetensors".
    """

    values: dict[str, Any]
    metadata: dict[str, str]
    kind: str


def read_file(path: Path, meant: Sequence[str] = ("best.pt", "last.pt", "model.safetensors")) -> FileContent:
    """Read a checkpoint of torch (zip and legacy), a pickle of arrays, or safetensors, whatever its name ends with.

    meant: the files, in this order, one of which a message names where `path` is a folder: by default a run's
    checkpoint to use, and the model in a folder of the Hugging Face hub. CheckpointError if there is no such file, or
    if the file is of another kind, damaged, or would run code.
    """
    if not path.is_file():
        raise CheckpointError(_no_file(path, meant))
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
        held = type(content.values).__name__
        raise CheckpointError(
            f"{path}: holds a {held}, not a checkpoint, which is a dictionary of named tensors, as "
            "model.state_dict() returns"
        )
    if not all(isinstance(name, str) for name in content.values):
        raise CheckpointError(f"{path}: holds a dictionary whose keys are not all names, not a checkpoint")
    return content


def _no_file(path: Path, names: Sequence[str]) -> str:
    """Return a message about a path that is not a file, with the file that may be meant."""
    if not path.is_dir():
        return nothing_at(path, "file")
    meant = next((path / name for name in names if (path / name).is_file()), None)
    return f"{path}: a folder, not a file" + (f": name the file in it, {meant}" if meant else "")


_MAGIC = 0x1950A86A20F9469CFC6C  # the value of the first pickle in torch's legacy format


def _read(file: BinaryIO) -> FileContent:
    head = file.read(4096)
    file.seek(0)
    if not head:
        raise CheckpointError("an empty file")
    if head.startswith(b"PK\x03\x04"):
        return FileContent(_read_zip(file), {}, "torch")
    if head[4:9] == b"\0\0\0\0{":  # the upper half of the header's length (below 4 GB), and the header's start
        return _read_safetensors(file)
    if what := describe_start(head):
        raise CheckpointError(what)
    try:
        tree, _ = unpickle(file)
        if tree == _MAGIC:
            return FileContent(_read_legacy(file), {}, "torch")
        return FileContent(Maker({}, file.tell()).make(tree), {}, "pickle")
    except CheckpointError:
        raise
    except Exception as error:  # pickles of protocol 0 are text too, so only text that is no pickle is reported as text
        text = head[:4000].decode("utf-8", "replace")
        if "\ufffd" not in text and "".join(text.split()).isprintable():
            raise CheckpointError("a text, not a checkpoint") from error
        raise


def _read_safetensors(file: BinaryIO) -> FileContent:
    with safe_open(file.name, framework="pt") as opened:
        # copies, since the tensors are views of the file, and would change with it
        values = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
        metadata = opened.metadata() or {}
    for name, tensor in values.items():
        if tensor.is_complex():
            raise CheckpointError(f"the tensor {short(name)} is complex")
    return FileContent(values, metadata, "safetensors")


def _read_zip(file: BinaryIO) -> Any:
    """Read what torch.save writes today: an archive with the pickle data.pkl and the bytes of storages in data/KEY."""
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
            raise CheckpointError(
                "its numbers are not little-endian: save the checkpoint again on a little-endian machine"
            )
    tree, _ = unpickle(io.BytesIO(_read_entry(file, pickles[0]).numpy().tobytes()))
    return Maker(storages, size).make(tree)


def _read_entry(file: BinaryIO, entry: zipfile.ZipInfo) -> Tensor:
    """Read an uncompressed entry in place: zipfile would copy it, and refuse torch's files without checksums."""
    file.seek(entry.header_offset + 26)
    name_length, extra_length = struct.unpack("<HH", take(file, 4))
    file.seek(name_length + extra_length, os.SEEK_CUR)
    data = _read_bytes(file, entry.file_size)
    if entry.CRC and zlib.crc32(data.numpy().data) != entry.CRC:
        raise CheckpointError("damaged: a checksum is wrong; download or copy the file again")
    return data


def _read_legacy(file: BinaryIO) -> Any:
    """Read the rest of a file of torch.save before 1.6: several pickles, then the storages, each after its length."""
    version, _ = unpickle(file)
    if version != 1001:
        raise CheckpointError("written in an unknown version of torch's legacy format")
    unpickle(file)  # the sizes of C's types on the machine that wrote the file
    tree, persistent = unpickle(file)
    keys, _ = unpickle(file)
    dtypes = {checked_key(call.arguments[2]): STORAGES[call.arguments[1].name] for call in persistent}
    storages = {}
    for key in keys:
        (count,) = struct.unpack("<q", take(file, 8))
        storages[key] = _read_bytes(file, count * dtypes[checked_key(key)].itemsize)
    return Maker(storages, file.tell()).make(tree)


def _read_bytes(file: BinaryIO, count: int) -> Tensor:
    """Read that many bytes into a new tensor."""
    check_left(file, count)
    data = torch.empty(count, dtype=torch.uint8, device="cpu")
    if file.readinto(data.numpy()) != count:  # type: ignore[attr-defined]
        raise EOFError("cut short")
    return data
