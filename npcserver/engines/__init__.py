"""Engines: what turns a prompt into words and decisions, behind one contract."""
