"""Exported models: write one from a checkpoint, prove that it detects the same, run it without the network."""
