"""What the two halves of a run share, and from which resolution on they are independent."""

from __future__ import annotations

from resmfn.reconstruction.run.context import RunContext, already_set


def coarse_resolution(run: RunContext) -> float | None:
    """Return the resolution in Å of the coarse map that both halves began with; None where poses were kept.

    What kept poses were fitted to, noise included, both halves may share at any resolution.
    """
    return run.resolution(run.state.band.split) if run.moves_poses else None


def split_resolution(run: RunContext) -> float | None:
    """Return the resolution in Å from which on the halves are independent; None where poses were kept.

    Maps are held within a mask, which spreads each Fourier coefficient over about 1 / (mask diameter). So what the
    halves share ends that much beyond the coarse map, and one whole shell of the mask is asked of them on their own.
    """
    coarse = coarse_resolution(run)
    return None if coarse is None else 1 / (1 / coarse + 1 / already_set(run.config.mask_diameter))


def shared_by_halves(run: RunContext) -> str:
    """Say what the halves have in common."""
    coarse = coarse_resolution(run)
    if coarse is None:
        return "the poses of the input, which were kept: possibly all that these were fitted to, at any resolution"
    if run.config.poses == "from-input":
        return (
            f"one map at the poses of the input, to {coarse:.2f} Å; what the poses knew of finer detail was forgotten"
        )
    return f"one coarse map, to {coarse:.2f} Å"
