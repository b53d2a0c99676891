"""Residual multiplicative filter networks for cryo-EM: particle images with unknown poses to a validated map.

The names below are the Python API; each is imported when it is first used, so that ``import resmfn`` stays light
(it does not import torch)::

    import resmfn

    resmfn.simulate(resmfn.SimulationConfig(source="4ake", out="particles"))

Conventions (axes, origin, poses, CTF sign, units) are fixed for the whole package: see ``docs/conventions.md``.
"""

from importlib import import_module

__version__ = "0.1.0"

_EXPORTS = {
    "ResmfnError": "resmfn.core.errors",
    "simulate": "resmfn.simulation",
    "SimulationConfig": "resmfn.simulation",
    "project": "resmfn.simulation",
}
_SUBPACKAGES = (
    "cli",
    "core",
    "data",
    "evaluation",
    "fourier",
    "networks",
    "physics",
    "reconstruction",
    "reports",
    "rotations",
    "simulation",
)

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> object:
    """Import a public name, or a subpackage, on first use."""
    if name in _EXPORTS:
        value = getattr(import_module(_EXPORTS[name]), name)
        globals()[name] = value
        return value
    if name in _SUBPACKAGES:
        return import_module(f"resmfn.{name}")
    msg = f"module 'resmfn' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    """List the public names, imported yet or not."""
    return sorted({*globals(), *_EXPORTS, *_SUBPACKAGES})
