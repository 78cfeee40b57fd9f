"""What a person looks at: images with boxes, curves and tables."""
