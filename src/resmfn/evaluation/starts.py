"""Agreement of the independent starts of a search."""

from __future__ import annotations

from collections.abc import Sequence

SAME_MAP = 0.8
"""Correlation of two starts' maps above which they show the same structure. No comparison recorded."""


def starts_with_another_map(correlations: Sequence[float]) -> int:
    """Return how many starts, by the correlation of their maps with the best start's map, show another structure."""
    return sum(value < SAME_MAP for value in correlations)
