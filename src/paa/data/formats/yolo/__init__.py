"""YOLO: one text file for each image."""
