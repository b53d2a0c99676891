"""What the two halves of a run share, and from which resolution on they are independent."""

from __future__ import annotations

from resmfn.reconstruction.run.context import RunContext


def split_resolution(run: RunContext) -> float | None:
    """Return the resolution in Å from which on the halves are independent.

    None where poses were kept: what they were fitted to, noise included, both halves may share at any resolution.
    """
    return run.resolution(run.state.band.split) if run.moves_poses else None


def shared_by_halves(run: RunContext) -> str:
    """Say what the halves have in common."""
    split = split_resolution(run)
    if split is None:
        return "the poses of the input, which were kept: possibly all that these were fitted to, at any resolution"
    if run.config.poses == "from-input":
        return f"one map at the poses of the input, to {split:.2f} Å; what the poses knew of finer detail was forgotten"
    return f"one coarse map, to {split:.2f} Å"
