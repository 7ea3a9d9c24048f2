"""Checks of the repository's own text, run by `make check`. Nothing here ships."""
