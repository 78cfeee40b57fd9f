"""Data sets: reading them, changing pictures, loading batches."""
