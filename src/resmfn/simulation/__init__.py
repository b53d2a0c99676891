"""Simulated particle images: data sets, and projections of a map at given poses.

The names are imported on first use: the command line reads :mod:`resmfn.simulation.config` without importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resmfn.simulation.config import SimulationConfig
    from resmfn.simulation.particles import SimulatedParticles, simulate
    from resmfn.simulation.projections import project

_EXPORTS = {
    "SimulatedParticles": "resmfn.simulation.particles",
    "SimulationConfig": "resmfn.simulation.config",
    "project": "resmfn.simulation.projections",
    "simulate": "resmfn.simulation.particles",
}

__all__ = ["SimulatedParticles", "SimulationConfig", "project", "simulate"]


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'resmfn.simulation' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
