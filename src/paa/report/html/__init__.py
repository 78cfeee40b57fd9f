"""The report on an evaluation as one HTML file."""
