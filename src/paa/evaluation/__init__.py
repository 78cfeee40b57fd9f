"""COCO's numbers and operating points of detections."""
