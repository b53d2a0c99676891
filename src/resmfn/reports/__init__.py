"""Read runs and maps from disk, compare them, and say so in files, tables and pictures.

Import from the modules; this page stays light so that only who draws waits for matplotlib.
"""
