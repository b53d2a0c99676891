"""Volume, pose and optics to image: one CTF, two projectors, composed; no files, no networks."""

from resmfn.physics.background import fit_planes, planes, ramp_strength
from resmfn.physics.contrast import CLEAR, FIRST_SHELLS, contrast_score, majority_significance
from resmfn.physics.ctf import compute_ctf, ctf_along_defocus, electron_wavelength
from resmfn.physics.image_formation import ImageFormation
from resmfn.physics.noise import add_noise
from resmfn.physics.optics import Optics
from resmfn.physics.phantoms.blobs import GaussianBlobs
from resmfn.physics.phantoms.ellipses import Ellipses
from resmfn.physics.projection import (
    FourierSliceProjector,
    add_slices,
    extract_slices,
    insert_slices,
    padded_transform,
    padded_transform_adjoint,
    project_real_space,
    slice_frames,
)
from resmfn.physics.recorded import plain_from_recorded, recorded_transfer
from resmfn.physics.shift import phase_shift

__all__ = [
    "CLEAR",
    "FIRST_SHELLS",
    "Ellipses",
    "FourierSliceProjector",
    "GaussianBlobs",
    "ImageFormation",
    "Optics",
    "add_noise",
    "add_slices",
    "compute_ctf",
    "contrast_score",
    "ctf_along_defocus",
    "electron_wavelength",
    "extract_slices",
    "fit_planes",
    "insert_slices",
    "majority_significance",
    "padded_transform",
    "padded_transform_adjoint",
    "phase_shift",
    "plain_from_recorded",
    "planes",
    "project_real_space",
    "ramp_strength",
    "recorded_transfer",
    "slice_frames",
]
