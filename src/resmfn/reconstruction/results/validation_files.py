"""Validation files of a run: mask, unmasked half maps, and figures and maps derived from them."""

from __future__ import annotations

from torch import Tensor

from resmfn.core.random import spawn
from resmfn.data.runs.file_names import DIRECTIONAL_FSC, FSC, LOCAL_RESOLUTION, MASK, SYMMETRY, VALIDATION
from resmfn.data.runs.run_folder import RunFolder
from resmfn.evaluation import HalfMapResult, find_symmetry, fsc_csv_text, validate_halves
from resmfn.evaluation.symmetry.scene import SMALLEST_BOX
from resmfn.reconstruction.results.map_files import write_density, write_mask, write_voxelwise
from resmfn.reconstruction.run.context import RunContext, already_set

SHARPENED = "map_sharpened.mrc"


def write_validation(folder: RunFolder, run: RunContext, mask: Tensor, halves: HalfMapResult) -> None:
    """Write mask, curves, figures, local resolution and the sharpened map; and the half maps without mask.

    All figures are of the half maps that were solved without mask: a map that was solved within one is 0 outside of it,
    and what the mask adds to its correlation can then not be told from what the images say.

    Parameters
    ----------
    folder, run
        Where, and of what.
    mask
        (B, B, B).
    halves
        Curves of the half maps without mask.
    """
    write_mask(folder, run, MASK, mask)
    maps = {
        name: volume.to(run.device) * run.observations.gray_scale for name, volume in run.state.maps.unmasked.items()
    }
    for name, volume in maps.items():
        write_density(folder, run, f"{name}_unfil.mrc", volume)
    folder.write_text(FSC, fsc_csv_text(halves.curves.by_name()))
    generator = spawn(run.config.seed, "validation")
    pixel_size = run.map_pixel_size
    validation = validate_halves(maps["half1"], maps["half2"], mask, pixel_size, generator=generator, halves=halves)
    write_voxelwise(folder, run, LOCAL_RESOLUTION, validation.local)
    write_density(folder, run, SHARPENED, validation.sharpened)
    folder.write_text(DIRECTIONAL_FSC, fsc_csv_text(validation.directional_curves()))
    figures = validation.figures()
    figures["starts"] = {
        "log_likelihood": [round(value, 4) for value in run.state.starts.log_likelihoods],
        "correlation": [round(value, 3) for value in run.state.starts.agreement],
    }
    folder.write_json(VALIDATION, figures)
    is_structure = already_set(run.state.tests.structure).is_structure
    if run.map_size >= SMALLEST_BOX and run.config.symmetry == "C1" and is_structure:
        half1, half2 = maps["half1"].cpu(), maps["half2"].cpu()
        diameter = 2 * run.mask_radius * run.pixel_size
        generator = spawn(run.config.seed, "symmetry")
        found = find_symmetry(
            (half1 + half2) / 2, pixel_size, (half1, half2), mask_diameter=diameter, generator=generator
        )
        folder.write_json(SYMMETRY, found.to_dict())
