"""The other hand: projections cannot distinguish a molecule from its mirror image, so the user chooses."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from resmfn.reconstruction.run.context import RunContext


def flip_hand(run: RunContext) -> None:
    """Replace the solution by its mirror image, in place: maps, mask and poses.

    The map is inverted through its origin and every image rotated by 180 degrees in its plane, after which the images
    fit as they did. Point groups stay as they are: inversion commutes with rotations.
    """
    state = run.state
    state.maps = replace(
        state.maps,
        references={name: inverted(volume) for name, volume in state.maps.references.items()},
        unmasked={name: inverted(volume) for name, volume in state.maps.unmasked.items()},
    )
    poses = run.poses()
    state.poses = replace(state.poses, best=replace(poses, rotation=flipped_rotation(poses.rotation)))
    if run.user_mask is not None:
        run.user_mask = inverted(run.user_mask)


def flipped_rotation(rotation: Tensor) -> Tensor:
    """Return the rotations (n, 3, 3) at which the images show the mirror image: half a turn in their plane."""
    return torch.tensor([-1.0, -1.0, 1.0], device=rotation.device)[:, None] * rotation


def inverted(volume: Tensor) -> Tensor:
    """Return a map (N, N, N) with V(-r) in place of V(r); the plane of an even box that has no Friedel mate is kept."""
    flipped = volume.flip((0, 1, 2))
    return flipped if volume.shape[0] % 2 else flipped.roll((1, 1, 1), (0, 1, 2))
