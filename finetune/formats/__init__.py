"""Readers of dialogue data: one module a format, each a function from a path to conversations."""
