"""Resizing and padding inside an exported graph: ONNX operations before the detector's, and their undoing after it."""

from __future__ import annotations

from typing import Any

from paa.config import ModelConfig
from paa.model.detector import PADDING

# The arithmetic is that of `paa.data.transforms.resized_size`, in double precision and with the same rounding.
_BEFORE = """
<ir_version: {ir}, opset_import: ["" : {opset}]>
prepare (uint8[batch, 3, height, width] originals)
    => (uint8[batch, 3, padded_height, padded_width] prepared, int64[batch, 2] prepared_sizes, int64[2] original) {{
  original = Shape<start = 2>(originals)
  count = Shape<end = 1>(originals)
  small_int = ReduceMin<keepdims = 0>(original)
  large_int = ReduceMax<keepdims = 0>(original)
  small = Cast<to = 11>(small_int)
  large = Cast<to = 11>(large_int)
  wanted = Constant<value = double {{{min_size}.0}}>()
  most = Constant<value = double {{{max_size}.0}}>()
  one = Constant<value = double {{1.0}}>()
  ratio = Div(large, small)
  long_side = Mul(ratio, wanted)
  too_long = Greater(long_side, most)
  most_large = Mul(most, small)
  capped = Div(most_large, large)
  rounded = Round(capped)
  reduced = Max(rounded, one)
  below_one = Less(rounded, one)
  thin = And(too_long, below_one)
  short = Where(too_long, reduced, wanted)
  short_large = Mul(short, large)
  in_ratio = Div(short_large, small)
  long = Where(thin, most, in_ratio)
  short_int = Cast<to = 7>(short)
  long_int = Cast<to = 7>(long)
  is_short = Equal(original, small_int)
  target = Where(is_short, short_int, long_int)
  channels = Constant<value_ints = [3]>()
  full = Concat<axis = 0>(count, channels, target)
  resized = Resize<mode = "linear", antialias = 1, exclude_outside = 1>(originals, , , full)
  two = Constant<value_ints = [2]>()
  per_image = Concat<axis = 0>(count, two)
  prepared_sizes = Expand(target, per_image)
  multiple = Constant<value_ints = [{padding}]>()
  negative = Neg(target)
  missing = Mod(negative, multiple)
  nothing = Constant<value_ints = [0, 0, 0, 0, 0, 0]>()
  pads = Concat<axis = 0>(nothing, missing)
  black = Constant<value = uint8 {{0}}>()
  prepared = Pad(resized, pads, black)
}}
"""

# As `paa.inference.detect.to_original` and the clipping after it.
_AFTER = """
<ir_version: {ir}, opset_import: ["" : {opset}]>
restore (float[batch, detections, 4] found_boxes, float[batch, detections] found_scores,
         int64[batch, detections] found_labels, int64[batch, 2] found_sizes, int64[2] found_original)
    => (float[batch, detections, 4] boxes, float[batch, detections] scores, int64[batch, detections] labels) {{
  first = Constant<value_int = 0>()
  target = Gather<axis = 0>(found_sizes, first)
  from_size = Cast<to = 1>(target)
  to_size = Cast<to = 1>(found_original)
  ratio_yx = Div(to_size, from_size)
  flip = Constant<value_ints = [1, 0]>()
  ratio = Gather(ratio_yx, flip)
  size = Gather(to_size, flip)
  limit = Concat<axis = 0>(size, size)
  low, high = Split<axis = 2, num_outputs = 2>(found_boxes)
  new_low = Mul(low, ratio)
  {high}
  scaled = Concat<axis = 2>(new_low, new_high)
  zero = Constant<value_float = 0.0>()
  positive = Max(scaled, zero)
  boxes = Min(positive, limit)
  scores = Identity(found_scores)
  labels = Identity(found_labels)
}}
"""

_PLAIN = "new_high = Mul(high, ratio)"
_LEGACY = """one = Constant<value_float = 1.0>()
  last = Sub(high, one)
  inside = Max(last, low)
  scaled_last = Mul(inside, ratio)
  new_high = Add(scaled_last, one)"""


def with_resizing(model: Any, config: ModelConfig) -> Any:
    """Return an ONNX model that takes images of one size as they are and finds boxes in their pixels.

    model: one that takes resized and padded `images` and their `sizes`, and gives `boxes`, `scores` and `labels`.
    """
    from onnx import compose, parser

    version = {"ir": model.ir_version, "opset": model.opset_import[0].version}
    before = _BEFORE.format(**version, min_size=config.min_size, max_size=config.max_size, padding=PADDING)
    after = _AFTER.format(**version, high=_LEGACY if config.legacy else _PLAIN)
    inner = compose.add_prefix(model, "detector/")
    joined = compose.merge_models(
        parser.parse_model(before),
        inner,
        [("prepared", "detector/images"), ("prepared_sizes", "detector/sizes")],
        outputs=["detector/boxes", "detector/scores", "detector/labels", "prepared_sizes", "original"],
    )
    pairs = [(f"detector/{name}", f"found_{name}") for name in ("boxes", "scores", "labels")]
    pairs += [("prepared_sizes", "found_sizes"), ("original", "found_original")]
    last = compose.add_prefix(parser.parse_model(after), "restore/", rename_inputs=False, rename_outputs=False)
    whole = compose.merge_models(joined, last, pairs)
    whole.graph.input[0].name = "images"
    for node in whole.graph.node:
        node.input[:] = ["images" if name == "originals" else name for name in node.input]
    return whole
