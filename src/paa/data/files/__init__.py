"""Finding files: folders, splits, and the image that an annotation means."""
