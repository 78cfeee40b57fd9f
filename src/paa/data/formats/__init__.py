"""The formats of data sets, one folder a format."""
