"""Fields fitted to images and density maps, coarse to fine: the paper's variants, and their scales at any resolution.

The names are imported on first use: the command line reads :mod:`resmfn.fitting.config` without importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resmfn.fitting.config import ImageFitConfig, VolumeFitConfig
    from resmfn.fitting.field import FittedField, load_field, save_field
    from resmfn.fitting.fit import FitResult, fit_image, fit_volume
    from resmfn.fitting.render import render

_EXPORTS = {
    "FitResult": "resmfn.fitting.fit",
    "FittedField": "resmfn.fitting.field",
    "ImageFitConfig": "resmfn.fitting.config",
    "VolumeFitConfig": "resmfn.fitting.config",
    "fit_image": "resmfn.fitting.fit",
    "fit_volume": "resmfn.fitting.fit",
    "load_field": "resmfn.fitting.field",
    "render": "resmfn.fitting.render",
    "save_field": "resmfn.fitting.field",
}

__all__ = [
    "FitResult",
    "FittedField",
    "ImageFitConfig",
    "VolumeFitConfig",
    "fit_image",
    "fit_volume",
    "load_field",
    "render",
    "save_field",
]


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'resmfn.fitting' has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value  # also where a module of that name was just imported
    return value
