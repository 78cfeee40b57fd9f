"""The formats of checkpoints, one module for each, with the functions of `weights.read.Format`."""
