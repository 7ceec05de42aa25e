"""A dialogue server for the characters of virtual scenes."""

__version__ = "0.1.0"
