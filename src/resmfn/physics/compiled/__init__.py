"""Compiled loops for slices, where numba is installed."""

from resmfn.physics.compiled.loops import CompiledLoops, compiled_loops, version_of_numba

__all__ = ["CompiledLoops", "compiled_loops", "version_of_numba"]
