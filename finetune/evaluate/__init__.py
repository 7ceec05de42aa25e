"""How good characters are, in numbers that can be trusted."""
