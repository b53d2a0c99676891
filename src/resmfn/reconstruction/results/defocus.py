"""What a run says of the defocus that it refined: columns of its particle file, and figures of its summary."""

from __future__ import annotations

import torch

from resmfn.data import ParticleSet
from resmfn.reconstruction.run.context import RunContext


def with_refined_defocus(run: RunContext) -> ParticleSet:
    """Return the particles with the defocus that was found in place of the one they came with, as RELION does."""
    offset = run.state.defocus.offset
    if offset is None:
        return run.particles
    metadata, offset = run.particles.metadata, offset.double().cpu()
    columns = ("rlnDefocusU", "rlnDefocusV")
    return run.particles.with_columns({name: torch.from_numpy(metadata.numbers(name)) + offset for name in columns})


def defocus_figures(run: RunContext) -> dict[str, object]:
    """Return what a summary says of the defocus that was refined; nothing where it was not asked for."""
    if not run.config.refine_defocus:
        return {}
    found = run.state.defocus
    said: dict[str, object] = {"refined": found.offset is not None}
    if found.offset is not None and found.told is not None:
        said["median_change"] = round(float(found.offset.abs().median()), 1)
        said["spread"] = {name: round(spread, 1) for name, spread in found.spread.items()}
        said["n_told"] = int(found.told.sum())
    return {"defocus": {**said, "verdict": _verdict(run)}}


def defocus_verdict(run: RunContext) -> list[str]:
    """Return the line that says what came of the defocus; none where it was not asked for."""
    return [f"defocus: {_verdict(run)}"] if run.config.refine_defocus else []


def _verdict(run: RunContext) -> str:
    found = run.state.defocus
    if found.offset is None or found.told is None:
        return "not refined, for images do not tell their poses well enough"
    spread = list(found.spread.values())[-1]  # of all images, which come last
    if spread == 0:
        return "kept: as a set, the images do not find that of their file wrong"
    return (
        f"off from that of the file by {spread:.0f} Å (standard deviation), median change "
        f"{float(found.offset.abs().median()):.0f} Å; {int(found.told.sum())} of {len(found.offset)} images tell theirs"
    )
