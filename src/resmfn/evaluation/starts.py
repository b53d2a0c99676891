"""Agreement of the independent starts of a search."""

from __future__ import annotations

from collections.abc import Sequence

SAME_LIKELIHOOD = 1.0
"""Difference of log-likelihood, nat per image, within which a start found the same solution as the best.
No comparison recorded."""
SAME_MAP = 0.8
"""Correlation of two starts' maps above which they show the same structure. No comparison recorded."""


def starts_as_likely_as_the_best(log_likelihoods: Sequence[float]) -> int:
    """Return how many starts are as likely as the best one (itself included); nat an image."""
    return sum(value > max(log_likelihoods) - SAME_LIKELIHOOD for value in log_likelihoods)


def starts_with_another_map(correlations: Sequence[float]) -> int:
    """Return how many starts, by the correlation of their maps with the best start's map, show another structure."""
    return sum(value < SAME_MAP for value in correlations)
