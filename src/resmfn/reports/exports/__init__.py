"""Runs as other programs and archives take them."""
