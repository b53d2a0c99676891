"""Figures of merit of a reconstruction: tensors in, records out; no files and no plots."""

from resmfn.evaluation.alignment.map_alignment import (
    MapAlignment,
    align_both_hands,
    align_maps,
    apply_alignment,
    correlation_after_alignment,
)
from resmfn.evaluation.alignment.model_hand import HandVerdict, judge_hand
from resmfn.evaluation.alignment.pose_error import (
    PoseAlignment,
    PoseErrors,
    ShiftErrors,
    align_poses,
    aligned_poses,
    shift_error,
)
from resmfn.evaluation.directional import DirectionalFsc, directional_fsc
from resmfn.evaluation.fsc import (
    FscCurve,
    PhaseRandomizedFsc,
    fourier_shell_correlation,
    fsc_csv_text,
    phase_randomized_fsc,
)
from resmfn.evaluation.halfmaps import HalfMapResult, half_map_resolution
from resmfn.evaluation.image_quality import mean_squared_error, peak_signal_to_noise, structural_similarity
from resmfn.evaluation.local_resolution import local_resolution
from resmfn.evaluation.sampling import FourierSampling, fourier_sampling
from resmfn.evaluation.sharpening import GuinierFit, contour_level, fit_guinier, fsc_weight, guinier_points, sharpen
from resmfn.evaluation.summary import (
    Evaluation,
    MapComparison,
    PoseComparison,
    compare_maps,
    compare_poses,
    enclosing_diameter,
    evaluate_run,
    spherical_mask,
)
from resmfn.evaluation.symmetry.find import GroupFit, SymmetryResult, find_symmetry
from resmfn.evaluation.validation import Validation, validate_halves
from resmfn.evaluation.views import ViewCoverage, symmetric_copies, view_coverage, view_density, view_directions

__all__ = [
    "DirectionalFsc",
    "Evaluation",
    "FourierSampling",
    "FscCurve",
    "GroupFit",
    "GuinierFit",
    "HalfMapResult",
    "HandVerdict",
    "MapAlignment",
    "MapComparison",
    "PhaseRandomizedFsc",
    "PoseAlignment",
    "PoseComparison",
    "PoseErrors",
    "ShiftErrors",
    "SymmetryResult",
    "Validation",
    "ViewCoverage",
    "align_both_hands",
    "align_maps",
    "align_poses",
    "aligned_poses",
    "apply_alignment",
    "compare_maps",
    "compare_poses",
    "contour_level",
    "correlation_after_alignment",
    "directional_fsc",
    "enclosing_diameter",
    "evaluate_run",
    "find_symmetry",
    "fit_guinier",
    "fourier_sampling",
    "fourier_shell_correlation",
    "fsc_csv_text",
    "fsc_weight",
    "guinier_points",
    "half_map_resolution",
    "judge_hand",
    "local_resolution",
    "mean_squared_error",
    "peak_signal_to_noise",
    "phase_randomized_fsc",
    "sharpen",
    "shift_error",
    "spherical_mask",
    "structural_similarity",
    "symmetric_copies",
    "validate_halves",
    "view_coverage",
    "view_density",
    "view_directions",
]
