"""Several maps at once: which of them an image shows is one more unknown."""
