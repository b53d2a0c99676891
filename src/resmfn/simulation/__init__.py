"""Particle images made, not measured: simulated data sets, and images of a map at given poses.

Import from the modules; this page stays light so that the command line can read :mod:`resmfn.simulation.config`.
"""
