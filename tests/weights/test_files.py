"""Files of every kind are read as they were written; malicious files run nothing, take no memory, give one line."""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import copyreg
import datetime
import io
import json
import os
import pickle
import pickletools
import random
import struct
import subprocess
import sys
import time
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from paa.errors import CheckpointError
from paa.weights.files import FileContent, read_file

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
VERSION = b"\x80\x02M\xe9\x03."
EMPTY = b"\x80\x02}."
NO_KEYS = b"\x80\x02]."


def as_pickle(tree: bytes) -> bytes:
    return tree


def as_legacy(tree: bytes, keys: bytes = NO_KEYS, data: bytes = b"", front: bytes = MAGIC + VERSION + EMPTY) -> bytes:
    return front + tree + keys + data


def as_zip(tree: bytes, records: dict[str, bytes] | None = None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", tree)
        for name, data in (records or {}).items():
            archive.writestr(f"archive/{name}", data)
    return file.getvalue()


def as_safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


CONTAINERS = [as_pickle, as_legacy, as_zip]


def read(path: Path, data: bytes) -> FileContent:
    path.write_bytes(data)
    return read_file(path)


def refuse(path: Path, data: bytes | None = None) -> str:
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        read_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert len(message) < len(str(path)) + 250
    return message


def equal(one: Any, other: Any) -> bool:
    """Compare strictly: types, dtypes and the order of keys count."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(equal(*pair) for pair in zip(one, other))
    return bool(one == other)


# What is read


def content() -> dict[str, Any]:
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "model": collections.OrderedDict(
            weight=base,
            view=base[1:, ::2],
            turned=base.t(),
            repeated=torch.ones(1).expand(1, 1),
            scalar=torch.tensor(2.5),
            empty=torch.zeros(0, 3),
            **{
                str(dtype): torch.arange(3).to(dtype)
                for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16)
            },
            bytes=torch.arange(3, dtype=torch.uint8),
            signed=torch.arange(-3, 0, dtype=torch.int8),
            flags=torch.tensor([True, False]),
        ),
        "others": [
            1,
            -1,
            255,
            65535,
            2**31,
            2**70,
            -(2**40),
            1.5,
            float("inf"),
            None,
            True,
            False,
            "",
            "ü鳥",
            (),
            (1,),
        ],
        "deep": {"a": {"b": [{"c": ((1, 2, 3), (1, 2), (1, 2, 3, 4))}]}, 3: "three", b"k": b"\xff\x00" * 300},
        "long": "x" * 70_000,
    }


def plain(value: Any) -> Any:
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_files(tmp_path: Path, zipped: bool, protocol: int) -> None:
    path = tmp_path / "no suffix"
    torch.save(content(), path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    values, metadata, kind = read_file(path)
    assert equal(values, plain(content()))
    assert (metadata, kind) == ({}, "torch")
    path.write_bytes(b"other")  # the tensors are in memory
    assert equal(values, plain(content()))


@pytest.mark.parametrize("zipped", [True, False])
def test_modules_and_optimizers(tmp_path: Path, zipped: bool) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    saved = {
        "model": module.state_dict(),
        "parameters": dict(module.named_parameters()),
        "optimizer": optimizer.state_dict(),
        "size": torch.ones(2, 3).shape,
        "about": [torch.float32, torch.device("cpu"), {1, 2}, 1j],
        "counts": [collections.Counter("aab"), collections.defaultdict(list, x=[1])],
    }
    torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    values = read_file(tmp_path / "a.pth").values
    assert equal(values["model"], plain(module.state_dict()))
    assert equal(values["parameters"], {name: p.detach() for name, p in module.named_parameters()})
    assert not values["parameters"]["0.weight"].requires_grad
    assert equal(values["optimizer"], optimizer.state_dict())
    assert equal(values["size"], (2, 3))
    assert values["about"] == [None] * 4
    assert equal(values["counts"], [{"a": 2, "b": 1}, {"x": [1]}])


@pytest.mark.parametrize("zipped", [True, False])
def test_shared_storage_stays_shared(tmp_path: Path, zipped: bool) -> None:
    base = torch.zeros(4)
    torch.save({"a": base, "b": base[2:], "c": base}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    values = read_file(tmp_path / "a.pt").values
    values["a"][2] = 7
    assert values["b"][0] == 7
    assert values["a"] is values["c"]


def test_torch_files_without_checksums(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.arange(5)}, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert equal(read_file(tmp_path / "a.pt").values, {"a": torch.arange(5)})


def test_damage_that_only_a_checksum_shows(tmp_path: Path) -> None:
    torch.save({"a": torch.full((1000,), 3.0)}, tmp_path / "a.pt")
    data = bytearray((tmp_path / "a.pt").read_bytes())
    data[data.index(struct.pack("<f", 3.0) * 8) + 17] ^= 1
    assert "checksum" in refuse(tmp_path / "a.pt", bytes(data))


def test_safetensors(tmp_path: Path) -> None:
    tensors = {"ü": torch.arange(6.0).reshape(2, 3), "b": torch.ones((), dtype=torch.bfloat16), "c": torch.zeros(0, 4)}
    path = tmp_path / "model.pth"
    save_file(tensors, path, {"paa": '{"version": 1}', "format": "pt"})
    values, metadata, kind = read_file(path)
    assert set(values) == set(tensors)
    assert all(equal(values[name], tensors[name]) for name in tensors)
    assert (metadata, kind) == ({"paa": '{"version": 1}', "format": "pt"}, "safetensors")
    path.write_bytes(bytes(path.stat().st_size))  # in its place
    assert equal(values["ü"], tensors["ü"])
    save_file(tensors, path)
    assert read_file(path).metadata == {}


ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "float16": np.arange(6, dtype=np.float16),
    "float64": np.array([0.1, -np.inf, 1e300]),
    "int64": np.array([[-(2**63)], [2**63 - 1]]),
    "int32": np.array([10, 13, 26, 39, 92, 0, -1], np.int32),
    "int8": np.arange(-128, 128).astype(np.int8),
    "uint8": np.arange(256).astype(np.uint8),
    "bool": np.array([True, False]),
    "fortran": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
    "big": np.arange(6, dtype=">f4").reshape(3, 2),
    "big fortran": np.asfortranarray(np.arange(6, dtype=">i2").reshape(3, 2)),
    "strided": np.arange(10.0)[::-2],
    "nothing": np.zeros((0, 3), np.float32),
    "point": np.array(3.5),
}


def tensors_of(arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))
        for name, array in arrays.items()
    }


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes alike, as Python 2 wrote its strings."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_string(self, value: str | bytes) -> None:
        raw = value if isinstance(value, bytes) else value.encode("latin-1")
        if self.proto == 0:
            self.write(b"S" + repr(raw)[1:].encode() + b"\n")
        elif len(raw) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(raw)]) + raw)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def python2_dumps(value: Any, protocol: int) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol).dump(value)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_pickles_of_python_2(tmp_path: Path, protocol: int) -> None:
    written = {
        "blobs": {**ARRAYS, "large": np.arange(300, dtype=np.int16), "lr": 0.01, "count": 3, "scalar": np.float32(0.5)},
        "cfg": "NAME: 'f\xfc\xdf' \"x\"\n" * 50,
        "kinds": [True, None, (1, 2), -7, 2**40, b"\x00\xff"],
    }
    data = python2_dumps(written, protocol)
    if protocol > 0:
        used = {instruction.name for instruction, _, _ in pickletools.genops(data)}
        assert not [name for name in used if "UNICODE" in name or "BYTES" in name]
    by_pickle = pickle.loads(data, encoding="latin1")  # it is what Python takes for one
    assert all(np.array_equal(by_pickle["blobs"][name], ARRAYS[name]) for name in ARRAYS)
    values, metadata, kind = read(tmp_path / "R-50.pkl", data)
    assert (metadata, kind) == ({}, "pickle")
    large = torch.arange(300, dtype=torch.int16)
    assert equal(values["blobs"], {**tensors_of(ARRAYS), "large": large, "lr": 0.01, "count": 3, "scalar": 0.5})
    assert values["cfg"] == written["cfg"]
    assert equal(values["kinds"], [True, None, (1, 2), -7, 2**40, "\x00\xff"])


def test_pickles_by_hand(tmp_path: Path) -> None:
    """As Python 2.7 and numpy 1.16 wrote {'conv1_w': array([1, 2], 'f4')}, in protocols 0 and 2."""
    first = (
        b"(dp1\nS'conv1_w'\np2\ncnumpy.core.multiarray\n_reconstruct\np3\n(cnumpy\nndarray\np4\n(I0\ntS'b'\np5\ntRp6\n"
        b"(I1\n(L2L\ntcnumpy\ndtype\np7\n(S'f4'\np8\nI0\nI1\ntRp9\n(I3\nS'<'\np10\nNNNI-1\nI-1\nI0\ntbI00\n"
        b"S'\\x00\\x00\\x80?\\x00\\x00\\x00@'\np11\ntbs."
    )
    second = (
        b"\x80\x02}q\x01U\x07conv1_wq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87"
        b"Rq\x05(K\x01\x8a\x01\x02\x85cnumpy\ndtype\nq\x06U\x02f4K\x00K\x01\x87Rq\x07(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff"
        b"\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x00@tbs."
    )
    for data in (first, second):
        assert equal(read(tmp_path / "a.pkl", data).values, {"conv1_w": torch.tensor([1.0, 2.0])})


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("old_numpy", [True, False])
def test_pickles_of_python_3(tmp_path: Path, protocol: int, old_numpy: bool) -> None:
    written = {"model": collections.OrderedDict(ARRAYS), "n": np.int64(-3), "x": np.float64(0.1), "y": np.bool_(True)}
    more = {"raw": b"\x00\xff" * 200, "text": "ü鳥\n'\"\\", "nested": [({"a": (1, 2, 3)},)], "no": [b"", "", (), {}]}
    data = pickle.dumps({**written, **more}, protocol)
    if old_numpy and protocol < 4:  # after which names are counted
        data = data.replace(b"numpy._core", b"numpy.core")
    values = read(tmp_path / "a.pkl", data).values
    assert equal(values, {"model": tensors_of(ARRAYS), "n": -3, "x": 0.1, "y": True, **more})
    values["model"]["float32"][0] = 1  # it can be written to, without a warning


def test_arrays_that_torch_has_no_numbers_for(tmp_path: Path) -> None:
    for dtype in (np.uint16, np.uint32):
        values = read(tmp_path / "a.pkl", pickle.dumps({"a": np.array([0, 65535], dtype)})).values
        assert equal(values, {"a": torch.tensor([0, 65535])})
    for array in (
        np.array([1], np.uint64),
        np.array([1j]),
        np.array(["text"]),
        np.array([b"raw"]),
        np.array([None]),
        np.array(["2020-01-01"], "M8[D]"),
        np.zeros(2, "f4,i4"),
        np.zeros(2, np.longdouble),
    ):
        assert "array of something other" in refuse(tmp_path / "a.pkl", pickle.dumps({"a": array}))


@pytest.fixture
def history_buffer() -> Iterator[type]:
    """A class with the name and form of mmengine's, whose module exists only while the file is written."""
    source = """
import numpy as np
class HistoryBuffer:
    _statistics_methods = {}
    def __init__(self):
        self.max_length = 1000000
        self._log_history, self._count_history = np.arange(3.0), np.ones(3, int)
        for name in ("min", "max", "mean", "current"):
            self._statistics_methods[name] = getattr(HistoryBuffer, name)
    def __getstate__(self):
        self.__dict__.update(statistics_methods=self._statistics_methods)
        return self.__dict__
    def __setstate__(self, state):
        raise RuntimeError("the named code ran")
    def min(self): pass
    def max(self): pass
    def mean(self): pass
    def current(self): pass
"""
    name = "mmengine.logging.history_buffer"
    parts = ["mmengine", "mmengine.logging", name]
    modules = {part: types.ModuleType(part) for part in parts}
    sys.modules.update(modules)
    exec(source, modules[name].__dict__)
    yield modules[name].HistoryBuffer
    for part in parts:
        sys.modules.pop(part, None)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_training_checkpoints_of_mmengine(tmp_path: Path, history_buffer: type, zipped: bool, protocol: int) -> None:
    state = {"bbox_head.atss_cls.weight": torch.arange(4.0)}
    meta = {"epoch": 12, "dataset_meta": {"classes": ("cat", "dog"), "palette": [(1, 2, 3)]}, "seed": np.int64(5)}
    other = {
        "message_hub": {
            "log_scalars": collections.OrderedDict({"train/loss": history_buffer()}),
            "runtime_info": collections.OrderedDict(last=np.float64(0.5), recent=collections.deque([1, 2], maxlen=3)),
            "resumed_keys": collections.OrderedDict(),
        },
        "args": argparse.Namespace(lr=0.1, output=Path("x"), at=datetime.datetime(2020, 1, 1)),
    }
    path = tmp_path / "epoch_12.pth"
    torch.save(
        {"meta": meta, "state_dict": collections.OrderedDict(state), **other},
        path,
        _use_new_zipfile_serialization=zipped,
        pickle_protocol=protocol,
    )
    for name in [name for name in sys.modules if name.startswith("mmengine")]:
        del sys.modules[name]
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    values = read_file(path).values
    assert equal(values["state_dict"], state)
    assert equal(values["meta"], {**meta, "seed": 5})
    assert values["message_hub"]["log_scalars"] == {"train/loss": None}
    assert values["message_hub"]["runtime_info"] == {"last": 0.5, "recent": None}
    assert values["args"] is None
    assert not [name for name in sys.modules if name.startswith("mmengine")]


# What would run code


def text(value: object) -> bytes:
    return f"S'{value}'\n".encode()


def payloads(witness: Path) -> dict[str, bytes]:
    """Return parts of pickles, each of which creates the witness file if `pickle` loads it."""
    touch = text(f"touch {witness}")
    python = text(f'open("{witness}", "w").close()')
    runs_python = text(f'import os; os.system("touch {witness}")')

    def named(module: str, name: str) -> bytes:
        return b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name)) + b"\x93"

    system = b"cos\nsystem\n"
    get = b"cbuiltins\ngetattr\n"
    return {
        "os.system": system + b"(" + touch + b"tR",
        "posix.system": b"cposix\nsystem\n" + touch + b"\x85R",
        "eval": b"cbuiltins\neval\n(" + python + b"tR",
        "exec": b"cbuiltins\nexec\n(" + python + b"tR",
        "Popen": b"csubprocess\nPopen\n((l" + text("touch") + b"a" + text(witness) + b"atR",
        "NEWOBJ_EX": b"cfunctools\npartial\n(" + system + b"t}\x92(" + touch + b"tR",
        "STACK_GLOBAL": named("os", "system") + b"(" + touch + b"tR",
        "STACK_GLOBAL of strings": text("os") + text("system") + b"\x93(" + touch + b"tR",
        "INST": b"(" + touch + b"ios\nsystem\n",
        "OBJ": b"(" + system + touch + b"o",
        "import": get + b"(cbuiltins\n__import__\n(" + text("os") + b"tR" + text("system") + b"tR(" + touch + b"tR",
        "allowed names": b"cnumpy.testing._private.utils\nrunstring\n(" + runs_python + b"}tR",
        "allowed getattr": get + b"(" + get + b"(cnumpy\ntesting\n" + text("_private") + b"tR" + text("utils")
        + b"tRp7\n0" + get + b"(g7\n" + text("runstring") + b"tR(" + runs_python + b"}tR",
        "dotted allowed name": named("collections", "_sys.modules.get") + b"(" + text("os") + b"tRp7\n0"
        + get + b"(g7\n" + text("system") + b"tR(" + touch + b"tR",
        "BUILD": b"cargparse\nNamespace\n)\x81}" + text("__setstate__") + system + b"sb" + touch + b"b",
        "map": b"cbuiltins\nlist\n(cbuiltins\nmap\n(" + system + b"(l" + touch + b"atRtR",
        "reduce": pickle.dumps(Reduces(f"touch {witness}"), 2)[2:-1],
        "torch": b"ctorch.serialization\nos.system\n(" + touch + b"tR",
        "unused": b"cimportlib\nimport_module\n(" + text("os") + b"tR0" + system + b"(" + touch + b"tR",
    }  # fmt: skip


class Reduces:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def appears(witness: Path) -> bool:
    """Say whether the witness appears within some seconds, since another process creates it."""
    for _ in range(200):
        if witness.exists():
            witness.unlink()
            return True
        time.sleep(0.01)
    return False


def wholes(part: bytes) -> list[bytes]:
    """Return pickles with the part at the top, as a value, as a key, within lists, and unreachable."""
    return [
        b"\x80\x04" + part + b".",
        b"\x80\x04}" + text("a") + part + b"s.",
        b"\x80\x04}" + part + b"Ns.",
        b"\x80\x04}" + text("a") + b"(l(l" + part + b"aas.",
        b"\x80\x04" + part + b"0}.",
    ]


@pytest.mark.parametrize("name", list(payloads(Path("w"))))
def test_nothing_runs(tmp_path: Path, name: str) -> None:
    witness, path = tmp_path / "witness", tmp_path / "evil.pth"
    part = payloads(witness)[name]
    pickle.loads(wholes(part)[0])  # as it would
    assert appears(witness)
    for tree in wholes(part):
        variants = [container(tree) for container in CONTAINERS]
        variants += [as_legacy(EMPTY, front=MAGIC + VERSION + tree), as_legacy(EMPTY, front=MAGIC + tree + EMPTY)]
        variants += [as_legacy(EMPTY, keys=tree), as_legacy(EMPTY, front=tree + VERSION + EMPTY)]
        for data in variants:
            path.write_bytes(data)
            if name == "allowed names":  # it is no error that metadata names what is not called
                with contextlib.suppress(CheckpointError):
                    assert str(read_file(path).values) in ("{}", "{'a': None}", "{'a': [[None]]}")
            else:
                refuse(path)
    time.sleep(0.05)
    assert not witness.exists()


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_error_names_what_would_run(tmp_path: Path, container: Callable[[bytes], bytes]) -> None:
    for name in ("os.system", "posix.system", "subprocess.Popen", "builtins.eval", "models.Net", "torch.load"):
        tree = f"\x80\x02}}U\x01ac{name.rpartition('.')[0]}\n{name.rpartition('.')[2]}\n)Rs.".encode("latin-1")
        assert f"would run code ({name}); it was not read" in refuse(tmp_path / "a.pth", container(tree))
    for part in ("x" * 10_000, "a\x1b[31m", "a b", "", "."):
        refuse(tmp_path / "a.pth", container(b"\x80\x04}" + text("a") + text(part) + text("b") + b"\x93s."))


@pytest.mark.parametrize("container", CONTAINERS)
def test_other_instructions_that_name_code(tmp_path: Path, container: Callable[[bytes], bytes]) -> None:
    copyreg.add_extension("os", "system", 200)
    try:
        witness = tmp_path / "witness"
        touch = text(f"touch {witness}")
        for extension in (b"\x82\xc8", b"\x83\xc8\x00", b"\x84\xc8\x00\x00\x00"):
            pickle.loads(extension + b"(" + touch + b"tR.")
            assert appears(witness)
            for tree in wholes(extension + b"(" + touch + b"tR"):
                refuse(tmp_path / "a.pth", container(tree))
        assert not witness.exists()
    finally:
        copyreg.remove_extension("os", "system", 200)
    for part in (b"Pos.system\n", text("id") + b"Q", b"(" + text("module") + b"NtQ", b"\x97", b"\x97\x98"):
        for tree in wholes(part)[:2]:
            refuse(tmp_path / "a.pth", container(tree))


@pytest.mark.parametrize("container", CONTAINERS)
def test_states_and_items_of_values_without_them(tmp_path: Path, container: Callable[[bytes], bytes]) -> None:
    """Python would set attributes and call methods."""
    state = b"}" + text("__class__") + b"c__builtin__\nlist\ns"
    for part in (b"]" + state + b"b", text("x") + state + b"b", b")" + state + b"b", b"K\x01" + state + b"b"):
        refuse(tmp_path / "a.pth", container(b"\x80\x02}" + text("a") + part + b"s."))
    for part in (text("x") + b"Na", b")Na", b"K\x01" + text("k") + b"Ns", b"N(NNu", b"N(Ne", b"N(N\x90"):
        refuse(tmp_path / "a.pth", container(b"\x80\x02}" + text("a") + part + b"s."))
    for part in (b"K\x01)R", text("os.system") + b")R", b"])\x81", b"}(R", b"cnumpy\nx\n)R)R", b"cnumpy\nx\nNR"):
        refuse(tmp_path / "a.pth", container(b"\x80\x02}" + text("a") + part + b"s."))
    shadowed = b"ccollections\nOrderedDict\n)R" + text("k") + b"K\x07s}" + text("items") + b"Nsb"
    values = read(tmp_path / "a.pth", container(b"\x80\x02}" + text("a") + shadowed + b"s.")).values
    assert list(values["a"].items()) == [("k", 7)]


def test_safetensors_hold_only_words(tmp_path: Path) -> None:
    words = "cos\nsystem\n(S'true'\ntR."
    assert read(tmp_path / "a", as_safetensors({"__metadata__": {"x": words}})).metadata == {"x": words}
    refuse(tmp_path / "a", as_safetensors({"__metadata__": {"x": 1}}))
    refuse(tmp_path / "a", as_safetensors({"__metadata__": {"x": {}}}))


# What is no checkpoint, or half of one


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"hello, this is a text\nof two lines\n", "a text"),
        ("cats and dogs, größer als 鳥\n".encode() * 500, "a text"),
        (b"class Foo:\n    pass\n", "a text"),
        (b"import os\nos.system('true')\n", "a text"),
        (b"(import\nfoo\n)", "a text"),
        (b'{"format": "paa-1"}', "a text"),
        (b".", "a text"),
        (b"\n\n<!DOCTYPE html><html>Not found</html>", "a web page"),
        (b"<?xml version='1.0'?><Error/>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "an image"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "an image"),
        (b"\x1f\x8b\x08" + bytes(40), "gzip"),
        (b"PK\x03\x04" + bytes(60), "damaged, or no checkpoint"),
        (b"\x80\x02.", "damaged, or no checkpoint"),
        (b"\x80\x02\x8a", "damaged, or no checkpoint"),
        (b"\x80", "damaged, or no checkpoint"),
        (bytes(1000), "damaged, or no checkpoint"),
        (bytes(range(256)), "damaged, or no checkpoint"),
        (b"\x80\x02N.", "holds a NoneType"),
        (b"\x80\x02].", "holds a list"),
        (b"\x80\x02}K\x01Ns.", "keys are not all names"),
        (b"\x80\x02}}Ns.", "a dict as a key"),
        (b"\x80\x02}]Ns.", "a list as a key"),
        (b"\x80\x02}NNs.", "a NoneType as a key"),
        (b"\x80\x02}(U\x01aNNu.", "damaged, or no checkpoint"),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else "",
)
def test_files_that_are_no_checkpoints(tmp_path: Path, data: bytes, words: str) -> None:
    assert words in refuse(tmp_path / "odd.pth", data)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "no such file" in refuse(tmp_path / "nothing.pth")
    assert "no such file" in refuse(tmp_path / "nothing" / "a.pth")
    assert "a folder" in refuse(tmp_path)


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.pth").write_bytes(EMPTY)
    monkeypatch.setattr(Path, "open", denied)
    assert "cannot be read (Permission denied)" in refuse(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_other_archives(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    assert "a zip archive, but not one of torch" in refuse(tmp_path / "a.npz")
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(3))
    assert "a zip archive, but not one of torch" in refuse(tmp_path / "a.npz")
    torch.jit.script(nn.Linear(1, 1)).save(tmp_path / "a.pt")
    refuse(tmp_path / "a.pt")
    assert "not one of torch" in refuse(tmp_path / "a", as_zip(EMPTY).replace(b"archive/", b"archive."))


@pytest.mark.parametrize("name", ["big", "", "little\n", "LITTLE", "\xff"])
def test_byte_orders(tmp_path: Path, name: str) -> None:
    assert read(tmp_path / "a.pt", as_zip(EMPTY, {"byteorder": b"little"})).values == {}
    assert "little-endian" in refuse(tmp_path / "a.pt", as_zip(EMPTY, {"byteorder": name.encode("latin-1")}))


def good_files(folder: Path) -> dict[str, bytes]:
    small = {"model": {"a": torch.arange(5.0), "b": torch.ones(2, 2)}, "names": ["cat", "dog"], "n": 7}
    torch.save(small, folder / "zip")
    torch.save(small, folder / "legacy", _use_new_zipfile_serialization=False)
    save_file(small["model"], folder / "safetensors", {"a": "b"})
    files = {name: (folder / name).read_bytes() for name in ("zip", "legacy", "safetensors")}
    arrays = {"blobs": {"a": np.arange(5.0), "b": np.ones((2, 2), np.float32)}, "names": ["cat", "dog"], "n": 7}
    files |= {f"python 2, protocol {p}": python2_dumps(arrays, p) for p in range(3)}
    return files | {f"python 3, protocol {p}": pickle.dumps(arrays, p) for p in (4, 5)}


def test_truncated_files(tmp_path: Path) -> None:
    """As a broken download leaves them."""
    path = tmp_path / "cut"
    for name, whole in good_files(tmp_path).items():
        assert read(path, whole).values
        for length in range(0, len(whole), max(1, len(whole) // 100)):
            assert refuse(path, whole[:length]), name
        refuse(path, whole[:-1])


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_files_with_wrong_bytes(tmp_path: Path) -> None:
    """A file with a changed byte is read, or refused with one line."""
    path, chance = tmp_path / "changed", random.Random(0)
    for whole in good_files(tmp_path).values():
        for _ in range(150):
            changed = bytearray(whole)
            for _ in range(chance.choice((1, 1, 1, 4))):
                changed[chance.randrange(len(changed))] = chance.choice((0, 46, 97, 128, 255, chance.randrange(256)))
            try:
                read(path, bytes(changed))
            except CheckpointError:
                refuse(path)


# What would take time or memory


def tensor(size: bytes, stride: bytes, offset: bytes = b"K\x00", numel: bytes = b"K\x01", kind: str = "Float") -> bytes:
    """The pickle of {"a": a tensor} over the storage "0"."""
    storage = f"(U\x07storagectorch\n{kind}Storage\nU\x010U\x03cpu".encode() + numel
    return (
        b"\x80\x02}U\x01actorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + b"%stQ"
        + offset
        + size
        + stride
        # no gradient, no hooks
        + b"\x89NtRs."
    )


TRILLION = b"\x8a\x06\x00\x10\xa5\xd4\xe8\x00"
KEYS = b"\x80\x02]U\x010a."


def in_zip(tree: bytes, data: bytes = bytes(4)) -> bytes:
    return as_zip(tree.replace(b"%s", b""), {"data/0": data})


def in_legacy(tree: bytes, data: bytes = bytes(4), numel: int | None = None) -> bytes:
    count = len(data) // 4 if numel is None else numel
    return as_legacy(tree.replace(b"%s", b"N"), KEYS, struct.pack("<q", count) + data)


@pytest.mark.parametrize("put", [in_zip, in_legacy])
def test_tensors_that_do_not_fit_their_data(tmp_path: Path, put: Callable[[bytes, bytes], bytes]) -> None:
    one, path = b"K\x01\x85", tmp_path / "a.pt"
    assert equal(read(path, put(tensor(one, one), bytes(4))).values, {"a": torch.zeros(1)})
    assert equal(read(path, put(tensor(b"K\x02\x85", b"K\x01\x85", b"K\x01"), bytes(12))).values, {"a": torch.zeros(2)})
    for size, stride, offset in (
        (TRILLION + b"\x85", one, b"K\x00"),
        (TRILLION + b"\x85", b"K\x00\x85", b"K\x00"),
        (b"K\x02\x85", b"K\x00\x85", b"K\x00"),
        (b"K\x02\x85", one, b"K\x00"),
        (one, one, b"K\x01"),
        (one, one, TRILLION),
        (one, one, b"J\xff\xff\xff\xff"),
        (b"J\xff\xff\xff\xff\x85", one, b"K\x00"),
        (one, b"J\xff\xff\xff\xff\x85", b"K\x00"),
        (one, b")", b"K\x00"),
        (b"K\x01", one, b"K\x00"),
        (b"G?\xf0\x00\x00\x00\x00\x00\x00\x85", one, b"K\x00"),
        (b"K\x00" + b"\x8a\xff" + b"\x7f" * 255 + b"\x86", b"K\x00K\x00\x86", b"K\x00"),
        (b"(" + b"K\x01" * 1000 + b"t", b"(" + b"K\x01" * 1000 + b"t", b"K\x00"),
    ):
        refuse(path, put(tensor(size, stride, offset), bytes(4)))
    refuse(path, put(tensor(one, one, kind="Double"), bytes(4)))
    refuse(path, put(tensor(one, one, kind="Quint8"), bytes(4)))
    refuse(path, put(tensor(one, one, kind="ComplexFloat"), bytes(8)))
    refuse(path, put(tensor(one, one).replace(b"%stQ", b"(U\x011K\x00K\x01ttQ"), bytes(4)))
    refuse(path, put(tensor(one, one).replace(b"\x89NtR", b"\x89N}U\x03negNstR"), bytes(4)))


def array(
    shape: bytes, raw: bytes, dtype: bytes = b"U\x02f4", order: bytes = b"U\x01<", fortran: bytes = b"\x89"
) -> bytes:
    """The pickle of {"a": an array}."""
    return (
        b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01"
        + shape + b"cnumpy\ndtype\n" + dtype + b"K\x00K\x01\x87R(K\x03" + order + b"NNNtb" + fortran + raw + b"tbs."
    )  # fmt: skip


def test_arrays_that_do_not_fit_their_data(tmp_path: Path) -> None:
    one, raw, path = b"K\x01\x85", b"U\x04\x00\x00\x80?", tmp_path / "a.pkl"
    assert equal(read(path, array(one, raw)).values, {"a": torch.ones(1)})
    for data in (
        array(TRILLION + b"\x85", raw),
        array(b"K\x02\x85", raw),
        array(b"K\x00" + TRILLION + TRILLION + b"\x87", raw),
        array(b"K\x00" + TRILLION * 3 + b"t", b"U\x00").replace(b"(K\x01K\x00", b"(K\x01(K\x00"),
        array(b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86", raw),
        array(b"K\x01", raw),
        array(b"]K\x01a", raw),
        array(b"(" + b"K\x01" * 1000 + b"t", raw),
        array(one, b"]K\x00a"),
        array(one, b"N"),
        array(one, "X\x04\x00\x00\x00ab鳥".encode()),
        array(one, raw, b"U\x01O"),
        array(one, raw, b"U\x02V4"),
        array(one, raw, b"U\x02S4"),
        array(one, raw, b"U\x02c8"),
        array(one, raw, b"]"),
        array(one, raw, b"cnumpy\nfloat32\n"),
        array(one, raw, order=b"U\x01x"),
        array(one, raw, order=b"]"),
        array(one, raw).replace(b"cnumpy\ndtype\n", b"cnumpy\ndtypes\n"),
    ):
        refuse(path, data)


def test_arrays_by_their_bytes_order(tmp_path: Path) -> None:
    raw = b"U\x04\x3f\x80\x00\x00"
    assert equal(read(tmp_path / "a", array(b"K\x01\x85", raw, order=b"U\x01>")).values, {"a": torch.ones(1)})


def zip_of_zeros(size: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a/data.pkl", EMPTY)
        archive.writestr("a/data/0", bytes(size))
    return file.getvalue()


def zip_of_one_entry_many_times(size: int, times: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", EMPTY)
        archive.writestr("a/data/0", bytes(size))
        for index in range(1, times):
            entry = copy.copy(archive.filelist[1])
            entry.filename = f"a/data/{index}"
            archive.filelist.append(entry)
    return file.getvalue()


def bombs() -> dict[str, bytes]:
    """Return small files (up to some MB) that ask for gigabytes of memory, or years of time."""
    one = b"K\x01\x85"
    long = struct.pack("<Q", 10**12)
    megabyte = b"B" + struct.pack("<I", 2**20) + bytes(2**20) + b"p1\n0"
    encode, latin = b"c_codecs\nencode\np2\n0", b"U\x06latin1p3\n0"
    name = "x" * 2**20
    doubled = {
        "lists": b"]p0\n" + b"0](g0\ng0\nep0\n" * 45,
        "tuples": b")p0\n" + b"0g0\ng0\n\x86p0\n" * 45,
        "dictionaries": b"}p0\n" + b"0}(U\x01ag0\nU\x01bg0\nup0\n" * 45,
        "ordered": b"]p0\n" + b"0ccollections\nOrderedDict\n(]](U\x01ag0\nea](U\x01bg0\neatRp0\n" * 45,
    }
    trees = {
        **{f"doubled {kind}": b"}U\x01a" + part + b"s" for kind, part in doubled.items()},
        "key of doubled tuples": b"}" + doubled["tuples"] + b"Ns",
        "a list in itself": b"}U\x01a]p0\ng0\nas",
        "a dictionary in itself": b"}p0\nU\x01ag0\ns",
        "deep lists": b"}U\x01a" + b"]" * 100_000 + b"a" * 99_999 + b"s",
        "deep tuples": b"}U\x01a)" + b"\x85" * 100_000 + b"s",
        "key of deep tuples": b"})" + b"\x85" * 100_000 + b"Ns",
        "deep calls": b"}U\x01actorch\nSize\np1\n" + b"g1\n" * 100_000 + b")R" + b"\x85R" * 100_000 + b"s",
        "deep marks": b"(" * 100_000,
        "sets": b"}U\x01a(" + b"\x8f" * 2_000_000 + b"ls",
        "names of doubled tuples": b"}U\x01a" + doubled["tuples"] + b"g0\n\x93s",
        "dtype of doubled tuples": array(one, b"U\x04aaaa", doubled["tuples"])[2:-1],
        "storage of doubled tuples": tensor(one, one).replace(b"%s", b"").replace(b"U\x010", doubled["tuples"])[2:-1],
        "one array, many times": b"}U\x01a" + megabyte + b"cnumpy\ndtype\nU\x02u1\x85Rp2\n0"
        + b"cnumpy.core.multiarray\n_reconstruct\np3\n0J\x00\x00\x10\x00\x85p4\n0("
        + b"g3\n)R(K\x01g4\ng2\n\x89g1\ntb" * 5000 + b"ls",
        "encoded, many times": b"}U\x01a" + encode + latin + b"X\x00\x00\x10\x00" + bytes(2**20) + b"p1\n0("
        + b"g2\n(g1\ng3\ntR" * 5000 + b"ls",
        "encoded to hex": b"}U\x01a" + encode + b"U\x03hexp3\n0" + b"g2\n" * 60 + b"U\x04abcd" + b"g3\n\x86R" * 60
        + b"s",
        "bytearray": b"}U\x01ac__builtin__\nbytearray\n(" + TRILLION + b"tRs",
        "torch.Tensor": b"}U\x01actorch\nTensor\n(" + TRILLION + b"tRs",
        "names, many times": b"}U\x01aX\x05\x00\x00\x00numpyp1\n0X\x00\x00\x10\x00" + name.encode() + b"p2\n0("
        + b"g1\ng2\n\x93" * 5000 + b"ls",
        "arguments, many times": b"}U\x01a(" + b"N" * 200_000 + b"tp1\n0" + encode + b"("
        + b"g2\ng1\nR" * 50_000 + b"ls",
        "keys that collide": b"}("
        + b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(1, 60_000))
        + b"u",
        "digits": b"}U\x01aL" + b"9" * 2_000_000 + b"L\ns",
        "digits of INT": b"}U\x01aI" + b"9" * 2_000_000 + b"\ns",
        "digits of FLOAT": b"}U\x01aF" + b"9" * 2_000_000 + b"\ns",
        "LONG4": b"}U\x01a\x8b\xff\xff\xff\x7fs",
        "BINBYTES": b"}U\x01aB\xff\xff\xff\xff",
        "BINBYTES8": b"}U\x01a\x8e" + long,
        "BYTEARRAY8": b"}U\x01a\x96" + long,
        "BINUNICODE8": b"}U\x01a\x8d" + long,
        "BINSTRING": b"}U\x01aT\xff\xff\xff\x7f",
        "FRAME": b"\x95" + long + b"}U\x01aBs",
        "memo": b"}U\x01ar\xff\xff\xff\xff" + b"p" + b"9" * 5_000_000 + b"\n0Ns",
    }  # fmt: skip
    files = {
        f"{name} ({container.__name__})": container(b"\x80\x04" + tree + b".")
        for name, tree in trees.items()
        for container in (CONTAINERS if len(tree) < 100_000 and "doubled" not in name else [as_pickle])
    }
    for put in (in_zip, in_legacy):
        files[f"size ({put.__name__})"] = put(tensor(TRILLION + b"\x85", one))
        files[f"stride 0 ({put.__name__})"] = put(tensor(TRILLION + b"\x85", b"K\x00\x85"))
        files[f"storage ({put.__name__})"] = put(tensor(TRILLION + b"\x85", one, numel=TRILLION))
    return files | {
        "storage's length": in_legacy(tensor(one, one, numel=TRILLION), numel=10**12),
        "storage's negative length": in_legacy(tensor(one, one), numel=-(10**12)),
        "array's shape": array(TRILLION + b"\x85", b"U\x04aaaa"),
        "zip of zeros": zip_of_zeros(300_000_000),
        "zip of one entry": zip_of_one_entry_many_times(2**20, 5000),
        "safetensors' shape": as_safetensors(
            {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]}}, bytes(4)
        ),
        "safetensors' data": as_safetensors(
            {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}, bytes(4)
        ),
        "safetensors' shared data": as_safetensors(
            {str(n): {"dtype": "U8", "shape": [2**20], "data_offsets": [0, 2**20]} for n in range(5000)}, bytes(2**20)
        ),
        "safetensors' header": struct.pack("<Q", 10**12) + b'{"a": 1}' + bytes(100),
        "safetensors' header, long": struct.pack("<Q", 2**31) + b'{"a": 1}' + bytes(100),
        "safetensors' header, deep": as_safetensors(b'{"a": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"),
    }


MEASURE = """
import sys, time
from pathlib import Path
from paa.errors import CheckpointError
from paa.weights.files import read_file

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

start = peak()
for path in sorted(Path(sys.argv[1]).iterdir()):
    began, before = time.process_time(), peak()
    try:
        read_file(path)
        verdict = "read"
    except CheckpointError as error:
        verdict = "refused"
    print(verdict, round(time.process_time() - began, 1), peak() - before, path.name, sep="\\t")
print(peak() - start)
held = b"x" * 300_000_000
print(peak() - start)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory as Linux does")
def test_time_and_memory_stay_small(tmp_path: Path) -> None:
    for name, data in bombs().items():
        (tmp_path / name).write_bytes(data)
    child = [sys.executable, "-c", MEASURE, str(tmp_path)]
    done = subprocess.run(child, capture_output=True, text=True, timeout=120, check=True)
    *lines, growth, control = done.stdout.splitlines()
    results = [line.split("\t") for line in lines]
    assert [name for verdict, _, _, name in results if verdict != "refused"] == []
    assert [(name, seconds) for _, seconds, _, name in results if float(seconds) > 5] == []
    assert int(growth) < 200, sorted(results, key=lambda result: -int(result[2]))[:5]
    assert int(control) > 250  # megabytes are seen
