"""The formats of checkpoints, one file a format: whether a file has it, and what the file says."""
