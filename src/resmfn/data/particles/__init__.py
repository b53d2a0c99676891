"""Particle sets: read from any format, located, inspected, converted and written."""
