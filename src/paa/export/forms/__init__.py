"""The forms of exported files, one file a form: how it is written, and how it is opened."""
