"""The forms in which detections are written to files, one file a form."""
