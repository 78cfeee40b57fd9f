"""From images to detections in the pixels of their originals."""
