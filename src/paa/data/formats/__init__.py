"""The formats of data sets, one folder a format; `interface.py` says what a format is and how to add one."""
