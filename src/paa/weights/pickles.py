"""Read a pickle as a tree of values and of calls that are not made.

A pickle is a program for a stack machine. This module runs the program, but where it would call a function, the call
becomes an inert node of the tree (`Call`), and only the names that checkpoints need are accepted. `pickle_values.py`
makes values and tensors of the tree. torch's `weights_only` runs no foreign code either, but it makes the calls that it
knows, and some of these take as much memory as the file asks for.
"""

from __future__ import annotations

import codecs
import pickle
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

import torch

from paa.errors import CheckpointError
from paa.weights.read_bytes import short, take
from paa.weights.unsupported import describe_code

MAX_STEPS = 500_000
"""Instructions of a pickle, and nodes of its tree: a byte may stand for an object of 200 bytes, and a few shared
objects can be repeated without end. A ResNet-50 with its optimizer has 30,000."""

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

_METADATA = ("mmengine.", "mmcv.", "mmdet.", "numpy.", "collections.", "argparse.", "pathlib.", "datetime.", "yacs.")
"""Modules of the metadata of known trainers: only arrays and dictionaries are made of their names."""

_NAMES = frozenset(STORAGES) | {
    *(str(dtype) for dtype in STORAGES.values()),
    *(f"torch._utils._rebuild_{what}" for what in ("tensor", "tensor_v2", "parameter", "parameter_with_state")),
    *("torch.Size", "torch.device", "_codecs.encode", "copyreg._reconstructor", "builtins.getattr"),
    *(f"builtins.{kind.__name__}" for kind in (bool, int, float, complex, str, bytes, bytearray)),
    *(f"builtins.{kind.__name__}" for kind in (tuple, list, dict, set, frozenset, object)),
}
"""All other names that checkpoints need; a call that `pickle_values.py` cannot make becomes None."""

_PYTHON_2_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class Call:
    """A call that a pickle asks for: a name, its arguments (None: no call, only the name), and changes to the result.

    state: the argument of its BUILD. entries: the values appended to it, or its keys and values in turn.
    """

    __slots__ = ("arguments", "entries", "name", "state")

    def __init__(self, name: str, arguments: Any = None) -> None:
        self.name, self.arguments = name, arguments
        self.state: Any = None
        self.entries: list[Any] = []


def unpickle(file: BinaryIO) -> tuple[Any, list[Call]]:
    """Read one pickle, of any protocol, and return its tree and, in order, the calls for persistent ids.

    Python 2's strings are read as latin-1, in which bytes and characters are the same. Beside EOFError and
    CheckpointError, a damaged pickle can raise ValueError, IndexError, KeyError and others.
    """
    machine = _Machine(file)
    for _ in range(MAX_STEPS):
        instruction = file.read(1)
        if instruction == pickle.STOP:
            return machine.stack.pop(), machine.persistent
        perform = _INSTRUCTIONS.get(instruction)
        if perform is None:  # classes named by a number, rarer forms of calls, or no instruction at all
            raise ValueError(f"instruction {instruction!r}") if instruction else EOFError("cut short")
        perform(machine)
    raise CheckpointError("too many values for a checkpoint")


class _Machine:
    """The machine that a pickle is a program for: a stack, marks on it, a memo of values; and the program's file."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.persistent: list[Call] = []

    # What follows an instruction in the file

    def number(self, form: str) -> Any:
        """Read a number; form: as for `struct`."""
        (number,) = struct.unpack(form, take(self.file, struct.calcsize(form)))
        return number

    def data(self, length_form: str) -> bytes:
        """Read bytes after the number of them."""
        return take(self.file, self.number(length_form))

    def line(self, max_length: int = -1) -> str:
        """Read a line of at most `max_length` characters, by default of any length."""
        line = self.file.readline(max_length)
        if not line.endswith(b"\n"):
            raise EOFError("cut short")
        return line[:-1].decode("latin-1")

    def digits(self) -> str:
        """Read the line of a number; it is short, as the time to convert it grows with the square of its length."""
        return self.line(40)

    def integer(self) -> int:
        """Read a line that is an integer."""
        return int(self.digits().removesuffix("L"))

    # What an instruction does with the stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop_marked(self) -> list[Any]:
        """Take the values above the last mark."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def push_tuple(self, length: int) -> None:
        self.stack[-length:] = [tuple(self.stack[-length:])]

    def push_dictionary(self, entries: list[Any]) -> None:
        dictionary = Call("dict", ())
        dictionary.entries += entries
        self.push(dictionary)

    def push_int(self) -> None:
        line = self.digits()
        self.push({"00": False, "01": True}[line] if line in ("00", "01") else int(line))

    def push_quoted(self) -> None:
        quoted = self.line().encode("latin-1")
        if len(quoted) < 2 or quoted[:1] != quoted[-1:] or quoted[:1] not in b"'\"":
            raise ValueError("a string without quotes")
        self.push(codecs.escape_decode(quoted[1:-1])[0].decode("latin-1"))

    def push_nothing(self) -> None:
        """Push None in the place of a frozen set, which no checkpoint needs."""
        self.pop_marked()
        self.push(None)

    def add(self, entries: list[Any]) -> None:
        """Append to a list, or set an item of anything else; entries: values, or keys and values in turn."""
        target = self.stack[-1]
        if not isinstance(target, (Call, list)):
            raise ValueError(f"entries for a {type(target).__name__}")
        (target.entries if isinstance(target, Call) else target).extend(entries)

    def add_pair(self) -> None:
        pair = self.stack[-2:]
        del self.stack[-2:]
        self.add(pair)

    def push_name(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.push(_named(module, name))

    def push_call(self) -> None:
        arguments, named = self.stack.pop(), self.stack.pop()
        self.push(_called(named, arguments))

    def push_call_with_keywords(self) -> None:
        """Push a call without its keyword arguments, which no checkpoint needs."""
        self.stack.pop()
        self.push_call()

    def push_persistent(self) -> None:
        self.persistent.append(_called(Call("persistent id"), self.stack.pop()))
        self.push(self.persistent[-1])

    def build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Call):
            raise ValueError(f"a state for a {type(self.stack[-1]).__name__}")
        self.stack[-1].state = state

    def memoize(self, key: int) -> None:
        self.memo[key] = self.stack[-1]


_INSTRUCTIONS: dict[bytes, Callable[[_Machine], object]] = {
    pickle.PROTO: lambda m: m.number("<B"),
    pickle.FRAME: lambda m: m.number("<Q"),
    # numbers and constants
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.BININT: lambda m: m.push(m.number("<i")),
    pickle.BININT1: lambda m: m.push(m.number("<B")),
    pickle.BININT2: lambda m: m.push(m.number("<H")),
    pickle.BINFLOAT: lambda m: m.push(m.number(">d")),
    pickle.INT: _Machine.push_int,
    pickle.LONG: lambda m: m.push(m.integer()),
    pickle.LONG1: lambda m: m.push(int.from_bytes(m.data("<B"), "little", signed=True)),
    pickle.FLOAT: lambda m: m.push(float(m.digits())),
    # strings and bytes
    pickle.SHORT_BINUNICODE: lambda m: m.push(m.data("<B").decode("utf-8", "replace")),
    pickle.BINUNICODE: lambda m: m.push(m.data("<I").decode("utf-8", "replace")),
    pickle.BINUNICODE8: lambda m: m.push(m.data("<Q").decode("utf-8", "replace")),
    pickle.UNICODE: lambda m: m.push(m.line().encode("latin-1").decode("raw-unicode-escape")),
    pickle.SHORT_BINSTRING: lambda m: m.push(m.data("<B").decode("latin-1")),
    pickle.BINSTRING: lambda m: m.push(m.data("<I").decode("latin-1")),
    pickle.STRING: _Machine.push_quoted,
    pickle.SHORT_BINBYTES: lambda m: m.push(m.data("<B")),
    pickle.BINBYTES: lambda m: m.push(m.data("<I")),
    pickle.BINBYTES8: lambda m: m.push(m.data("<Q")),
    pickle.BYTEARRAY8: lambda m: m.push(m.data("<Q")),
    # tuples, lists, dictionaries, sets
    pickle.MARK: lambda m: m.marks.append(len(m.stack)),
    pickle.POP: lambda m: m.stack.pop(),
    pickle.EMPTY_TUPLE: lambda m: m.push(()),
    pickle.TUPLE1: lambda m: m.push_tuple(1),
    pickle.TUPLE2: lambda m: m.push_tuple(2),
    pickle.TUPLE3: lambda m: m.push_tuple(3),
    pickle.TUPLE: lambda m: m.push(tuple(m.pop_marked())),
    pickle.EMPTY_LIST: lambda m: m.push([]),
    pickle.LIST: lambda m: m.push(m.pop_marked()),
    pickle.EMPTY_DICT: lambda m: m.push_dictionary([]),
    pickle.DICT: lambda m: m.push_dictionary(m.pop_marked()),
    pickle.EMPTY_SET: lambda m: m.push(Call("set")),
    pickle.FROZENSET: _Machine.push_nothing,
    pickle.APPEND: lambda m: m.add([m.stack.pop()]),
    pickle.SETITEM: _Machine.add_pair,
    pickle.APPENDS: lambda m: m.add(m.pop_marked()),
    pickle.SETITEMS: lambda m: m.add(m.pop_marked()),
    pickle.ADDITEMS: lambda m: m.add(m.pop_marked()),
    # names and calls
    pickle.GLOBAL: lambda m: m.push(_named(m.line(), m.line())),
    pickle.STACK_GLOBAL: _Machine.push_name,
    pickle.REDUCE: _Machine.push_call,
    pickle.NEWOBJ: _Machine.push_call,
    pickle.NEWOBJ_EX: _Machine.push_call_with_keywords,
    pickle.BINPERSID: _Machine.push_persistent,
    pickle.BUILD: _Machine.build,
    # the memo
    pickle.PUT: lambda m: m.memoize(m.integer()),
    pickle.BINPUT: lambda m: m.memoize(m.number("<B")),
    pickle.LONG_BINPUT: lambda m: m.memoize(m.number("<I")),
    pickle.MEMOIZE: lambda m: m.memoize(len(m.memo)),
    pickle.GET: lambda m: m.push(m.memo[m.integer()]),
    pickle.BINGET: lambda m: m.push(m.memo[m.number("<B")]),
    pickle.LONG_BINGET: lambda m: m.push(m.memo[m.number("<I")]),
}


def _named(module: Any, name: Any) -> Call:
    """Return a name that a pickle refers to; CheckpointError unless checkpoints need that name."""
    if not isinstance(module, str) or not isinstance(name, str) or len(module) + len(name) > 200:
        raise ValueError("an invalid name")
    full = f"{_PYTHON_2_NAMES.get(module, module)}.{name}".replace("numpy.core.", "numpy._core.")
    if not all(part.isidentifier() for part in full.split(".")):
        raise ValueError("an invalid name")
    if full not in _NAMES and not full.startswith(_METADATA):
        what = describe_code(full)
        raise CheckpointError(f"would run code ({short(full)}); it was not read{f': {what}' if what else ''}")
    return Call(full)


def _called(named: Any, arguments: Any) -> Call:
    """Return the call of a name, of at most 100 arguments: more, shared by many calls, would take long to make."""
    if not isinstance(named, Call) or named.arguments is not None:
        raise ValueError("a call of something that is no name")
    if not isinstance(arguments, tuple) or len(arguments) > 100:
        raise ValueError("a call with invalid arguments")
    return Call(named.name, arguments)
