"""Data sets: reading them, changing images, loading batches."""
