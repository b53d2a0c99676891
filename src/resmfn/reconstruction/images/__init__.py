"""Particle images as the reconstruction sees them: read once, whitened, judged."""
