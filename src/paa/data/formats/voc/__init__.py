"""Pascal VOC: one XML file for each image."""
