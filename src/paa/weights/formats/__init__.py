"""The formats of checkpoints, one module for each: `recognises` and `read`, as `weights.read.Format` describes them."""
