"""YOLO: one text file an image."""
