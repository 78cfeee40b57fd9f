"""Make plain values and tensors of the tree of a pickle, no larger than the file that holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paa.errors import CheckpointError
from paa.weights.pickles import MAX_STEPS, STORAGES, Call

_MAX_DEPTH = 50
"""Most nested levels of values, so that code that later walks through them stays below Python's limit of recursion."""

_DICTIONARIES = ("dict", "collections.OrderedDict", "collections.Counter", "collections.defaultdict")
_ARRAY_TYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "f2", "f4", "f8")


class Maker:
    """Makes the values of a pickle's tree.

    storages: key -> bytes of the tensors in the file. size: that of the file, in bytes.
    """

    def __init__(self, storages: Mapping[str, Tensor], size: int) -> None:
        self.storages = storages
        self.made: dict[int, Any] = {}
        self.steps = 0
        self.bytes_left = 2 * size  # Python 2 wrote arrays as text, which is made bytes and then an array

    def make(self, tree: Any, depth: int = 0) -> Any:
        """Make the plain value of a tree; parts that the tree repeats are made again, and counted again."""
        self.steps += 1
        if depth > _MAX_DEPTH or self.steps > MAX_STEPS:
            raise CheckpointError("nested too deeply, or too many values, for a checkpoint")
        if isinstance(tree, list):
            return [self.make(item, depth + 1) for item in tree]
        if isinstance(tree, tuple):
            return tuple([self.make(item, depth + 1) for item in tree])
        if not isinstance(tree, Call):
            return tree
        if tree.name in _DICTIONARIES and tree.arguments is not None:
            return self.make_dictionary(tree, depth)
        if id(tree) not in self.made:  # an array that is repeated stays one tensor
            self.made[id(tree)] = None if tree.arguments is None else self.make_value(tree, depth)
        return self.made[id(tree)]

    def make_dictionary(self, call: Call, depth: int) -> dict[Any, Any]:
        """Make a dictionary of a call's entries and, for Python 2's OrderedDict and Counter, those in its argument."""
        entries = list(call.entries)
        for given in call.arguments[:1]:
            if isinstance(given, list):
                entries += [item for key, value in given for item in (key, value)]
            elif isinstance(given, Call):
                entries += given.entries
        made = {}
        for named, value in zip(entries[::2], entries[1::2], strict=True):
            key = self.make(named, depth + 1)
            # a file can hold larger numbers, or tuples, chosen so that looking them up takes quadratic time
            if not isinstance(key, (str, bytes)) and not (isinstance(key, (int, float)) and abs(key) < 2**53):
                raise CheckpointError(f"a dictionary in the file has a {type(key).__name__} as a key")
            made[key] = self.make(value, depth + 1)
        return made

    def make_value(self, call: Call, depth: int) -> Any:
        """Make the value of any other call; None for objects of other programs."""
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
                raise CheckpointError("refers to something outside of the file")
        return None

    def make_bytes(self, arguments: tuple[Any, ...], depth: int) -> bytes:
        """Make bytes from bytes, or from the characters that stand for them in protocols without bytes."""
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
        """Make an array from its bytes, in this machine's byte order and C's order of elements."""
        code = dtype.arguments[0]
        if dtype.name != "numpy.dtype" or not isinstance(code, str) or code not in _ARRAY_TYPES:
            raise CheckpointError("holds an array of something other than numbers")
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
            raise CheckpointError("holds a tensor that is marked as conjugate or negative, or an outdated kind of view")
        data = self.storages[checked_key(key)].view(STORAGES[storage_type.name])
        count = math.prod(_checked_shape(size))
        _checked_shape((offset, *_checked_shape(stride)))
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if count > len(data) or (count and last >= len(data)):
            raise CheckpointError("holds a tensor that is larger than its data")
        return data.as_strided(size, stride, offset)


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """Return an array as a tensor; torch cannot compute with unsigned numbers of more than 8 bits."""
    return torch.from_numpy(array.astype(np.int64) if array.dtype.kind == "u" and array.itemsize > 1 else array)


def checked_key(key: Any) -> str:
    """Return a storage's key; ValueError unless it is a string: other values may take very long to look up."""
    if not isinstance(key, str):
        raise ValueError("a storage without a key")
    return key


def _checked_shape(shape: Any) -> tuple[int, ...]:
    """Return a shape, or strides; ValueError unless the file's value is a tuple of a few numbers from 0."""
    if not isinstance(shape, tuple) or len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError("a tensor without a shape")
    return shape
