"""What a person looks at: pictures with boxes, curves and tables."""
