"""Pixels and colours: boxes with captions drawn on images, of whatever they come from."""
