"""INT8: a network's convolutions on integers of 8 bits, whose ranges NNCF chooses from what images bring about."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from typing import Any

import numpy.typing as npt

from paa.errors import ConfigError, PaaError, one_line
from paa.export.quiet import quiet

_CONVOLUTIONS = {"Convolution", "GroupConvolution", "DeformableConvolution"}
_NEVER = {"Constant", "Parameter", "Result"}


def quantise(model: Any, feeds: Iterable[dict[str, npt.NDArray[Any]]], count: int) -> Any:
    """Return an `openvino.Model` in INT8: its convolutions and what lies between them.

    feeds: the inputs of the model for each image, `count` of them. What comes before the first convolution (resizing,
    normalising) and after the last ones (boxes, scores, NMS, voting) stays in float32. ConfigError if NNCF fails.
    """
    with quiet(), contextlib.redirect_stdout(io.StringIO()):  # its progress bars, and a line for each operation
        import nncf

        ignored = nncf.IgnoredScope(names=outside_convolutions(model), validate=False)
        try:
            return nncf.quantize(model, nncf.Dataset(list(feeds)), subset_size=count, ignored_scope=ignored)
        except PaaError:
            raise
        except Exception as error:  # NNCF's and OpenVINO's errors have no common class
            raise ConfigError(f"NNCF cannot make an INT8 form of this model ({one_line(error)})") from error


def outside_convolutions(model: Any) -> list[str]:
    """Return the names of the operations of an `openvino.Model` that are not between two of its convolutions."""
    operations = [op for op in model.get_ordered_ops() if op.get_type_name() not in _NEVER]
    after: set[str] = set()
    for op in operations:
        sources = [port.get_source_output().get_node() for port in op.inputs()]
        if any(_name(source) in after or _is_convolution(source) for source in sources):
            after.add(_name(op))
    before: set[str] = set()
    for op in reversed(operations):
        users = [port.get_node() for output in op.outputs() for port in output.get_target_inputs()]
        if any(_name(user) in before or _is_convolution(user) for user in users):
            before.add(_name(op))
    between = after & before
    return [_name(op) for op in operations if not _is_convolution(op) and _name(op) not in between]


def _name(op: Any) -> str:
    name: str = op.get_friendly_name()
    return name


def _is_convolution(op: Any) -> bool:
    return op.get_type_name() in _CONVOLUTIONS
