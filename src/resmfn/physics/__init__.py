"""Volume, pose and optics to image: one CTF, two projectors, composed; no files, no networks."""

from resmfn.physics.contrast import CLEAR, FIRST_SHELLS, vote_certainty, whiteness
from resmfn.physics.ctf import compute_ctf, electron_wavelength
from resmfn.physics.image_formation import ImageFormation
from resmfn.physics.noise import add_noise
from resmfn.physics.optics import Optics
from resmfn.physics.phantoms import GaussianBlobs
from resmfn.physics.projection import (
    FourierSliceProjector,
    add_slices,
    extract_slices,
    insert_slices,
    insert_weights,
    padded_transform,
    padded_transform_adjoint,
    project_real_space,
)
from resmfn.physics.recorded import plain_from_recorded, recorded_transfer
from resmfn.physics.shift import phase_shift

__all__ = [
    "CLEAR",
    "FIRST_SHELLS",
    "FourierSliceProjector",
    "GaussianBlobs",
    "ImageFormation",
    "Optics",
    "add_noise",
    "add_slices",
    "compute_ctf",
    "electron_wavelength",
    "extract_slices",
    "insert_slices",
    "insert_weights",
    "padded_transform",
    "padded_transform_adjoint",
    "phase_shift",
    "plain_from_recorded",
    "project_real_space",
    "recorded_transfer",
    "vote_certainty",
    "whiteness",
]
