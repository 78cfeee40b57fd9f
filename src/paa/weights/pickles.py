"""A pickle -> plain values and tensors, with none of its calls made.

A pickle is a program. It is read here into an inert tree (`Call`), of which the few names that stand for values and
tensors are then made by this module; the known names of metadata become None, and any other is an error. torch's
`weights_only` runs no foreign code either, but it makes the calls that it knows, some of which take as much memory as
they are told to.
"""

from __future__ import annotations

import codecs
import io
import math
import os
import pickle
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from paa.errors import CheckpointError
from paa.weights.foreign import describe_code

_MOST_STEPS = 500_000
"""Of a pickle, and of what is made of it: a byte may ask for an object of 200 bytes, and a few shared objects can be
repeated without end. A ResNet-50 with its optimizer has 30,000."""

_DEEPEST = 50
"""Levels of what is made, so that nothing that later walks through it meets Python's limit."""

STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
_ARRAYS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "f2", "f4", "f8")

_METADATA = ("mmengine.", "mmcv.", "mmdet.", "numpy.", "collections.", "argparse.", "pathlib.", "datetime.", "yacs.")
"""Where the metadata of known trainers comes from; of these names, only arrays and dictionaries are made."""

_NAMES = frozenset(STORAGES) | {
    *(str(dtype) for dtype in STORAGES.values()),
    *(f"torch._utils._rebuild_{what}" for what in ("tensor", "tensor_v2", "parameter", "parameter_with_state")),
    *("torch.Size", "torch.device", "_codecs.encode", "copyreg._reconstructor", "builtins.getattr"),
    *(f"builtins.{kind.__name__}" for kind in (bool, int, float, complex, str, bytes, bytearray)),
    *(f"builtins.{kind.__name__}" for kind in (tuple, list, dict, set, frozenset, object)),
}
"""The other names that checkpoints need: what is not made of them below becomes None."""

_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class Call:
    """What a pickle wants called: a name, its arguments (None: it is only named), and what the result is then given.

    state: of its BUILD. entries: appended to it, or keys and values in turn.
    """

    __slots__ = ("arguments", "entries", "name", "state")

    def __init__(self, name: str, arguments: Any = None) -> None:
        self.name, self.arguments = name, arguments
        self.state: Any = None
        self.entries: list[Any] = []


_DICTIONARIES = ("dict", "collections.OrderedDict", "collections.Counter", "collections.defaultdict")


def _named(module: Any, name: Any) -> Call:
    """Return a name that a pickle refers to; CheckpointError unless it is one of those that checkpoints need."""
    if not isinstance(module, str) or not isinstance(name, str) or len(module) + len(name) > 200:
        raise ValueError("a name that is none")
    full = f"{_RENAMED.get(module, module)}.{name}".replace("numpy.core.", "numpy._core.")
    if not all(part.isidentifier() for part in full.split(".")):
        raise ValueError("a name that is none")
    if full not in _NAMES and not full.startswith(_METADATA):
        what = describe_code(full)
        raise CheckpointError(f"would run code ({short(full)}); it was not read{f': {what}' if what else ''}")
    return Call(full)


_FOLLOWED_BY = {
    **dict.fromkeys((pickle.BININT1, pickle.BINGET, pickle.BINPUT, pickle.LONG1, pickle.PROTO), "<B"),
    **dict.fromkeys((pickle.SHORT_BINSTRING, pickle.SHORT_BINUNICODE, pickle.SHORT_BINBYTES), "<B"),
    **dict.fromkeys((pickle.LONG_BINGET, pickle.LONG_BINPUT), "<I"),
    **dict.fromkeys((pickle.BINSTRING, pickle.BINUNICODE, pickle.BINBYTES), "<I"),
    **dict.fromkeys((pickle.BINUNICODE8, pickle.BINBYTES8, pickle.BYTEARRAY8, pickle.FRAME), "<Q"),
    pickle.BININT: "<i",
    pickle.BININT2: "<H",
    pickle.BINFLOAT: ">d",
}
"""The number after an instruction: itself the value, or a place in the memo, or the length of what comes next."""


def unpickle(file: BinaryIO) -> tuple[Any, list[Call]]:
    """Read one pickle, of any protocol, into a tree of values and calls not made; and those of persistent ids.

    Python 2's strings are read as latin-1, in which bytes and characters are the same.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    persistent = []

    def pop_marked() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for _ in range(_MOST_STEPS):
        instruction = file.read(1)
        if following := _FOLLOWED_BY.get(instruction):
            (number,) = struct.unpack(following, take(file, struct.calcsize(following)))
        match instruction:
            case pickle.BINPUT | pickle.LONG_BINPUT:
                memo[number] = stack[-1]
            case pickle.PUT:
                memo[_integer(file)] = stack[-1]
            case pickle.MEMOIZE:
                memo[len(memo)] = stack[-1]
            case pickle.BINGET | pickle.LONG_BINGET:
                stack.append(memo[number])
            case pickle.GET:
                stack.append(memo[_integer(file)])
            case pickle.BININT | pickle.BININT1 | pickle.BININT2 | pickle.BINFLOAT:
                stack.append(number)
            case pickle.INT:
                line = _line(file, 40)
                stack.append({"00": False, "01": True}[line] if line in ("00", "01") else int(line))
            case pickle.LONG:
                stack.append(_integer(file))
            case pickle.LONG1:
                stack.append(int.from_bytes(take(file, number), "little", signed=True))
            case pickle.FLOAT:
                stack.append(float(_line(file, 40)))
            case pickle.BINUNICODE | pickle.SHORT_BINUNICODE | pickle.BINUNICODE8:
                stack.append(take(file, number).decode("utf-8", "replace"))
            case pickle.BINSTRING | pickle.SHORT_BINSTRING:
                stack.append(take(file, number).decode("latin-1"))
            case pickle.BINBYTES | pickle.SHORT_BINBYTES | pickle.BINBYTES8 | pickle.BYTEARRAY8:
                stack.append(take(file, number))
            case pickle.STRING:
                quoted = _line(file).encode("latin-1")
                if len(quoted) < 2 or quoted[:1] != quoted[-1:] or quoted[:1] not in b"'\"":
                    raise ValueError("a string without quotes")
                stack.append(codecs.escape_decode(quoted[1:-1])[0].decode("latin-1"))
            case pickle.UNICODE:
                stack.append(_line(file).encode("latin-1").decode("raw-unicode-escape"))
            case pickle.NONE:
                stack.append(None)
            case pickle.NEWTRUE | pickle.NEWFALSE:
                stack.append(instruction == pickle.NEWTRUE)
            case pickle.MARK:
                marks.append(len(stack))
            case pickle.POP:
                stack.pop()
            case pickle.EMPTY_TUPLE:
                stack.append(())
            case pickle.TUPLE1 | pickle.TUPLE2 | pickle.TUPLE3:
                length = (pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3).index(instruction) + 1
                stack[-length:] = [tuple(stack[-length:])]
            case pickle.TUPLE:
                stack.append(tuple(pop_marked()))
            case pickle.EMPTY_LIST:
                stack.append([])
            case pickle.LIST:
                stack.append(pop_marked())
            case pickle.EMPTY_DICT:
                stack.append(Call("dict", ()))
            case pickle.DICT:
                items = pop_marked()
                stack.append(Call("dict", ()))
                stack[-1].entries += items
            case pickle.EMPTY_SET:
                stack.append(Call("set"))
            case pickle.FROZENSET:
                pop_marked()
                stack.append(None)
            case pickle.APPEND:
                item = stack.pop()
                _entries(stack[-1]).append(item)
            case pickle.SETITEM:
                pair = stack[-2:]
                del stack[-2:]
                _entries(stack[-1]).extend(pair)
            case pickle.APPENDS | pickle.SETITEMS | pickle.ADDITEMS:
                items = pop_marked()
                _entries(stack[-1]).extend(items)
            case pickle.GLOBAL:
                stack.append(_named(_line(file), _line(file)))
            case pickle.STACK_GLOBAL:
                name, module = stack.pop(), stack.pop()
                stack.append(_named(module, name))
            case pickle.REDUCE | pickle.NEWOBJ:
                arguments, called = stack.pop(), stack.pop()
                stack.append(_called(called, arguments))
            case pickle.NEWOBJ_EX:
                _, arguments, called = stack.pop(), stack.pop(), stack.pop()
                stack.append(_called(called, arguments))
            case pickle.BUILD:
                state = stack.pop()
                if not isinstance(stack[-1], Call):
                    raise ValueError(f"a state for a {type(stack[-1]).__name__}")
                stack[-1].state = state
            case pickle.BINPERSID:
                persistent.append(_called(Call("persistent id"), stack.pop()))
                stack.append(persistent[-1])
            case pickle.PROTO | pickle.FRAME:
                pass
            case pickle.STOP:
                return stack.pop(), persistent
            case b"":
                raise EOFError("cut short")
            case _:  # those that look up classes by number or call them in other ways, and no instructions
                raise ValueError(f"instruction {instruction!r}")
    raise CheckpointError("too many values for a checkpoint")


def _line(file: BinaryIO, longest: int = -1) -> str:
    """Read a line; longest: of a number, as the time to read it grows with its square."""
    line = file.readline(longest)
    if not line.endswith(b"\n"):
        raise EOFError("cut short")
    return line[:-1].decode("latin-1")


def _integer(file: BinaryIO) -> int:
    return int(_line(file, 40).removesuffix("L"))


def _entries(target: Any) -> list[Any]:
    """Return what appending to a list, or setting an item of anything else, appends to."""
    if isinstance(target, Call):
        return target.entries
    if isinstance(target, list):
        return target
    raise ValueError(f"entries for a {type(target).__name__}")


def _called(named: Any, arguments: Any) -> Call:
    """Return the call of a name; no known one has many arguments, and many shared by many calls would take long."""
    if not isinstance(named, Call) or named.arguments is not None:
        raise ValueError("a call of what is no name")
    if not isinstance(arguments, tuple) or len(arguments) > 100:
        raise ValueError("a call with arguments that are none")
    return Call(named.name, arguments)


class Maker:
    """Makes what the tree of a pickle stands for. storages: key -> bytes, of the tensors in it; size: of the file."""

    def __init__(self, storages: Mapping[str, Tensor], size: int) -> None:
        self.storages = storages
        self.made: dict[int, Any] = {}
        self.steps = 0
        self.bytes_left = 2 * size  # an array's are made of a text's, and then made an array

    def make(self, tree: Any, depth: int = 0) -> Any:
        """Make plain values of a tree; what it repeats is made anew, so that it is later as large as it looks."""
        self.steps += 1
        if depth > _DEEPEST or self.steps > _MOST_STEPS:
            raise CheckpointError("nested too deeply, or too many values, for a checkpoint")
        if isinstance(tree, list):
            return [self.make(item, depth + 1) for item in tree]
        if isinstance(tree, tuple):
            return tuple([self.make(item, depth + 1) for item in tree])
        if not isinstance(tree, Call):
            return tree
        if tree.name in _DICTIONARIES and tree.arguments is not None:
            return self.make_dictionary(tree, depth)
        if id(tree) not in self.made:  # an array that is repeated is one tensor
            self.made[id(tree)] = None if tree.arguments is None else self.make_value(tree, depth)
        return self.made[id(tree)]

    def make_dictionary(self, call: Call, depth: int) -> dict[Any, Any]:
        """Make a dictionary of its entries and, as Python 2 wrote OrderedDict and Counter, of its argument's."""
        entries = list(call.entries)
        for given in call.arguments[:1]:
            if isinstance(given, list):
                entries += [item for key, value in given for item in (key, value)]
            elif isinstance(given, Call):
                entries += given.entries
        made = {}
        for named, value in zip(entries[::2], entries[1::2], strict=True):
            key = self.make(named, depth + 1)
            # larger numbers, and tuples, can be chosen such that finding them takes the square of the time
            if not isinstance(key, (str, bytes)) and not (isinstance(key, (int, float)) and abs(key) < 2**53):
                raise CheckpointError(f"a dictionary in it has a {type(key).__name__} as a key")
            made[key] = self.make(value, depth + 1)
        return made

    def make_value(self, call: Call, depth: int) -> Any:
        """Make what one call stands for; None if that is another program's."""
        match call.name.removeprefix("torch._utils.").removeprefix("numpy._core."):
            case "_rebuild_tensor" | "_rebuild_tensor_v2":
                return self.make_tensor(*call.arguments)
            case "_rebuild_parameter" | "_rebuild_parameter_with_state" | "torch.Size":
                return self.make(call.arguments[0], depth + 1)
            case "multiarray._reconstruct":
                shape, dtype, fortran, raw = call.state[-4:]
                return _tensor(self.make_array(raw, dtype, shape, fortran is True or fortran == 1, depth))
            case "numeric._frombuffer":
                raw, dtype, shape, order = call.arguments
                return _tensor(self.make_array(raw, dtype, shape, order == "F", depth))
            case "multiarray.scalar":
                dtype, raw = call.arguments
                return self.make_array(raw, dtype, (), False, depth).item()
            case "_codecs.encode" | "builtins.bytes" | "builtins.bytearray":
                return self.make_bytes(call.arguments, depth)
            case "persistent id":
                raise CheckpointError("refers to something outside of it")
        return None

    def make_bytes(self, arguments: tuple[Any, ...], depth: int) -> bytes:
        """Make bytes of bytes, or of the characters that stand for them in protocols without bytes."""
        if not arguments:
            return b""
        made = self.make(arguments[0], depth + 1)
        if isinstance(made, str) and arguments[1:] in ((), ("latin1",), ("latin-1",)):
            made = made.encode("latin-1")
        if not isinstance(made, bytes):
            raise ValueError("bytes in an unknown encoding")
        self.bytes_left -= len(made)
        if self.bytes_left < 0:
            raise CheckpointError("its arrays are larger than the file")
        return made

    def make_array(self, raw: Any, dtype: Any, shape: Any, fortran: bool, depth: int) -> np.ndarray[Any, Any]:
        """Make an array of its bytes, in this machine's byte order and C's order of elements."""
        code = dtype.arguments[0]
        if dtype.name != "numpy.dtype" or not isinstance(code, str) or code not in _ARRAYS:
            raise CheckpointError("holds an array of something else than numbers")
        byte_order = dtype.state[1] if dtype.state else "="
        if byte_order not in ("<", ">", "=", "|"):
            raise ValueError("an array of an unknown byte order")
        data = self.make_bytes((raw,), depth)
        native = np.dtype(code)
        written = np.dtype(f"{byte_order}{code}")
        if len(data) != math.prod(_checked_shape(shape)) * native.itemsize:
            raise ValueError("an array of another size than its shape")
        array = np.ndarray(shape, written, data, order="F" if fortran else "C")
        return np.array(array, native, order="C")

    def make_tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
        """Make a tensor that is a view of a storage, and no larger than it; rest: gradients, hooks and marks."""
        _, storage_type, key, _, _, *view = storage.arguments
        if len(rest) > 2 or any(part is not None for part in view):
            raise CheckpointError("holds a tensor that is marked as conjugate or negative, or a view of old")
        data = self.storages[checked_key(key)].view(STORAGES[storage_type.name])
        count = math.prod(_checked_shape(size))
        _checked_shape((offset, *_checked_shape(stride)))
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if count > len(data) or (count and last >= len(data)):
            raise CheckpointError("holds a tensor that is larger than its data")
        return data.as_strided(size, stride, offset)


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """Return an array as a tensor; torch computes with no unsigned numbers of more than 8 bits."""
    return torch.from_numpy(array.astype(np.int64) if array.dtype.kind == "u" and array.itemsize > 1 else array)


def checked_key(key: Any) -> str:
    """Return a storage's key; of anything else a file may have made what takes for ever to look up."""
    if not isinstance(key, str):
        raise ValueError("a storage without a key")
    return key


def _checked_shape(shape: Any) -> tuple[int, ...]:
    """Return a shape, or strides, of which a file may have made anything."""
    if not isinstance(shape, tuple) or len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError("a tensor without a shape")
    return shape


def take(file: BinaryIO, count: int) -> bytes:
    """Read exactly that many bytes, of which the file may have fewer."""
    if count > io.DEFAULT_BUFFER_SIZE:  # asking costs more than reading a few bytes
        check_left(file, count)
    data = file.read(count)
    if len(data) != count:
        raise EOFError("cut short")
    return data


def check_left(file: BinaryIO, count: int) -> None:
    """Raise EOFError unless the file has that many bytes left."""
    here = file.tell()
    left = file.seek(0, os.SEEK_END) - here
    file.seek(here)
    if not 0 <= count <= left:  # of a header that claims more than there is, no memory is taken
        raise EOFError("cut short")


def short(text: str) -> str:
    """Return a file's own words in a form that fits an error's one line."""
    line = text.encode("unicode_escape").decode("ascii")
    return line if len(line) <= 100 else f"{line[:97]}..."
