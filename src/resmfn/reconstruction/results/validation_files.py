"""What a run says of its own map: the mask, unmasked half maps, and all that its half maps support."""

from __future__ import annotations

from torch import Tensor

from resmfn.core.random import spawn
from resmfn.data import write_map
from resmfn.data.runs.file_names import DIRECTIONAL_FSC, FSC, LOCAL_RESOLUTION, MASK, VALIDATION
from resmfn.data.runs.run_folder import RunFolder
from resmfn.evaluation import HalfMapResult, fsc_csv_text, half_map_resolution, validate_halves
from resmfn.evaluation.validation import figures_of_curves
from resmfn.reconstruction.run.context import RunContext

SHARPENED = "map_sharpened.mrc"


def write_validation(
    folder: RunFolder, run: RunContext, maps: dict[str, Tensor], mask: Tensor, halves: HalfMapResult
) -> None:
    """Write mask, curves, figures, local resolution and the sharpened map; and the halves without network and mask.

    The networks are fitted inside the mask only and are anything outside of it, so half maps of networks are masked,
    and their "unmasked" curve has the mask in it. What the images themselves say without a mask is told by the explicit
    half maps, each solved from the same images at the same poses, over the whole box and without a network.

    Parameters
    ----------
    folder, run
        Where, and of what.
    maps
        half1 and half2, (N, N, N), in grey values.
    mask
        (N, N, N).
    halves
        Their curves.
    """
    explicit = {}
    write_map(folder.path / MASK, mask, run.pixel_size)
    unmasked = {name: volume.cpu() * run.observations.grey for name, volume in run.state.unmasked.items()}
    for name, volume in unmasked.items():
        write_map(folder.path / f"{name}_unfil.mrc", volume, run.pixel_size)
    if unmasked:  # runs that were done before there were any have none
        generator = spawn(run.config.seed, "explicit")
        found = half_map_resolution(unmasked["half1"], unmasked["half2"], mask, run.pixel_size, generator=generator)
        explicit = {"unmasked": found.curves.unmasked, "corrected": found.curves.corrected}
    named = halves.curves.by_name() | {f"explicit_{name}": curve for name, curve in explicit.items()}
    folder.write_text(FSC, fsc_csv_text(named))
    generator = spawn(run.config.seed, "validation")
    validation = validate_halves(maps["half1"], maps["half2"], mask, run.pixel_size, generator=generator, halves=halves)
    write_map(folder.path / LOCAL_RESOLUTION, validation.local, run.pixel_size)
    write_map(folder.path / SHARPENED, validation.sharpened, run.pixel_size)
    folder.write_text(DIRECTIONAL_FSC, fsc_csv_text(validation.directional_curves()))
    figures = validation.figures()
    if explicit:
        figures["explicit"] = figures_of_curves(explicit)
    figures["starts"] = {
        "log_likelihood": [round(value, 4) for value in run.state.log_likelihoods],
        "correlation": [round(value, 3) for value in run.state.start_agreement],
    }
    folder.write_json(VALIDATION, figures)
