"""Residual multiplicative filter networks for cryo-EM: particle images with unknown poses to a validated map.

The names below are the Python API, one function for each command. Each is imported when it is first used, so that
``import resmfn`` stays light (it does not import torch)::

    import resmfn

    resmfn.simulate(resmfn.SimulationConfig(source="4ake", out="particles", n_projections=2000))

Conventions (axes, origin, poses, CTF sign, units) are fixed for the whole package: see ``docs/conventions.md``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resmfn.core.errors import ResmfnError
    from resmfn.fitting import ImageFitConfig, VolumeFitConfig, fit_image, fit_volume, render
    from resmfn.reconstruction import ReconstructionConfig, reconstruct
    from resmfn.reports.compare import align, fsc
    from resmfn.reports.report import report
    from resmfn.reports.scoring import evaluate
    from resmfn.reports.structure.symmetry import symmetry
    from resmfn.simulation import SimulationConfig, project, simulate

__version__ = "0.1.0"

__all__ = [
    "ImageFitConfig",
    "ReconstructionConfig",
    "ResmfnError",
    "SimulationConfig",
    "VolumeFitConfig",
    "__version__",
    "align",
    "evaluate",
    "fit_image",
    "fit_volume",
    "fsc",
    "project",
    "reconstruct",
    "render",
    "report",
    "simulate",
    "symmetry",
]

_HOMES = {
    "ImageFitConfig": "resmfn.fitting",
    "ReconstructionConfig": "resmfn.reconstruction",
    "ResmfnError": "resmfn.core.errors",
    "SimulationConfig": "resmfn.simulation",
    "VolumeFitConfig": "resmfn.fitting",
    "align": "resmfn.reports.compare",
    "evaluate": "resmfn.reports.scoring",
    "fit_image": "resmfn.fitting",
    "fit_volume": "resmfn.fitting",
    "fsc": "resmfn.reports.compare",
    "project": "resmfn.simulation",
    "reconstruct": "resmfn.reconstruction",
    "render": "resmfn.fitting",
    "report": "resmfn.reports.report",
    "simulate": "resmfn.simulation",
    "symmetry": "resmfn.reports.structure.symmetry",
}
_SUBPACKAGES = (
    "cli",
    "core",
    "data",
    "evaluation",
    "fitting",
    "fourier",
    "inverse",
    "networks",
    "physics",
    "reconstruction",
    "reports",
    "rotations",
    "simulation",
)


def __getattr__(name: str) -> object:
    """Import a public name, or a subpackage, on first use."""
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name in _SUBPACKAGES:
        return import_module(f"resmfn.{name}")
    msg = f"module 'resmfn' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    """List the public names, imported yet or not."""
    return sorted({*globals(), *_HOMES, *_SUBPACKAGES})
