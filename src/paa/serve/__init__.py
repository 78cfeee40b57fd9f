"""A detector behind HTTP: a page for people, and an endpoint for programs."""
