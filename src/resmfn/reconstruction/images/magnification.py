"""Which central slices images show: those of their poses, but for an anisotropic magnification.

Images are not resampled. The image's frequency k shows the map at A^T (M k, 0): poses A are replaced by frames with
``M^T A[:2]`` in place of their first rows wherever a map is sliced or images are inserted. Where many images are
compared with the same slices, the mean of all matrices stands for each: exact where all images have the same one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.physics.ctf import magnified
from resmfn.physics.optics import Optics
from resmfn.physics.projection import slice_frames

_ROUNDING = 1e-5  # relative, of frequencies


class Magnification:
    """The magnification matrices of a set of images.

    Parameters
    ----------
    matrix
        (n, 2, 2): M of each; None where images show the slices of their poses.
    mean
        (2, 2): stands for all; by default their mean.
    """

    def __init__(self, matrix: Tensor | None = None, mean: Tensor | None = None) -> None:
        self.matrix = matrix
        self._mean = matrix.mean(dim=0) if matrix is not None and mean is None else mean

    def select(self, index: Tensor) -> Magnification:
        """Return the same of some images, with the mean of all."""
        return self if self.matrix is None else Magnification(self.matrix[index], self._mean)

    def frames(self, index: Tensor | slice, rotation: Tensor) -> Tensor:
        """Return the frames (m, 3, 3) that some images (m,) show at poses (m, 3, 3)."""
        return rotation if self.matrix is None else slice_frames(rotation, self.matrix[index])

    def shared_frames(self, rotation: Tensor) -> Tensor:
        """Return the frames (m, 3, 3) that all images would show at poses (m, 3, 3)."""
        return rotation if self._mean is None else slice_frames(rotation, self._mean.expand(len(rotation), 2, 2))

    def of_specimen(self, index: Tensor | slice, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and y of the map's frequencies, (P,) or (m, P), that some images (m,) show at theirs, (2, P)."""
        x, y = k if self.matrix is None else magnified(k.T, self.matrix[index]).unbind(dim=-1)
        return x, y

    def in_band(self, ctf: Tensor, index: Tensor, pixels: Tensor) -> Tensor:
        """Return the CTF (m, P) of some images, 0 where they show what lies beyond the pixels' own radius.

        A map's grid is made for that radius; 0 is no signal there, in scores and in sums.
        """
        if self.matrix is None or self._mean is None:
            return ctf
        k = pixels.to(ctf)
        most = k[-1].square().sum() * (1 + _ROUNDING)
        within = magnified(k, self.matrix[index]).square().sum(dim=-1) <= most
        return ctf * (within & (magnified(k, self._mean[None]).square().sum(dim=-1) <= most))


def magnification_of(optics: Optics | None, device: torch.device) -> Magnification:
    """Return what the optics of all images say, on a device."""
    matrix = None if optics is None else optics.magnification
    return Magnification(None if matrix is None else matrix.to(device=device, dtype=torch.float32))
