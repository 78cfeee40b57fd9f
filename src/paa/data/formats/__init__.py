"""The formats of data sets, one folder for each; `interface.py` says what a format is and how to add one."""
