"""Read runs and maps from disk, compare them, and present them as files, tables and pictures.

Import from the modules: this one imports nothing, so that only drawing waits for matplotlib.
"""
