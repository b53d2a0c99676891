"""Alignment of maps and poses, and the errors that remain."""
