"""Faster 3x3 convolutions for CPUs."""
