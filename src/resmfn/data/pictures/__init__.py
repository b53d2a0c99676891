"""Photographs and other two-dimensional images, for fitting."""
