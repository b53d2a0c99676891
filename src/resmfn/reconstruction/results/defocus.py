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
    if found.offset is None or found.told is None:
        return {"defocus": {"refined": False, "verdict": "defocus: not refined, as images do not tell their poses"}}
    change, n_told, n = float(found.offset.abs().median()), int(found.told.sum()), len(found.offset)
    spreads = {name: round(spread, 1) for name, spread in found.spread.items()}
    spread = max(found.spread.values())
    said = f"off from the files by {spread:.0f} Å (standard deviation), {n_told} of {n} images tell by how much"
    verdict = f"defocus: {said}; median change {change:.0f} Å" if spread > 0 else "defocus: images find nothing wrong"
    return {
        "defocus": {
            "refined": True,
            "median_change": round(change, 1),
            "spread": spreads,
            "n_told": n_told,
            "verdict": verdict,
        }
    }
