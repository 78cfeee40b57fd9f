"""COCO: annotations of a whole data set in one JSON file."""
