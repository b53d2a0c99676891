"""Quality of each scale of a network on training and test points."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resmfn.core.errors import InputError
from resmfn.data.runs.spectra import ScaleSpectra
from resmfn.evaluation import mean_squared_error, peak_signal_to_noise, structural_similarity
from resmfn.fitting.field import evaluate_scales
from resmfn.fitting.samples import FitTarget, GridSamples
from resmfn.fourier import fftn_centered
from resmfn.networks import MultiplicativeFilterNetwork

HIGHEST_PSNR = 200.0
"""dB; what an exact fit is given, so that files hold numbers only."""
_TINY = 1e-12
Measures = dict[str, list[float]]


def scale_values(network: MultiplicativeFilterNetwork, target: FitTarget, grid: GridSamples, n_scales: int) -> Tensor:
    """Values of scales 1 to ``n_scales`` in the target's unit; (n_scales, *shape, channels)."""
    values = evaluate_scales(network, grid.coords.to(network.device), n_scales)
    return (values * target.gain + target.offset).reshape(n_scales, *grid.shape, -1)


def measure(train: Tensor, test: Tensor, target: FitTarget, *, with_ssim: bool) -> Measures:
    """MSE, PSNR (dB) and, if asked for, SSIM of every scale on training and test grid; nothing is clipped.

    Parameters
    ----------
    train, test
        :func:`scale_values` on the two grids.
    target
        The truth.
    with_ssim
        Structural similarity takes longest: leave it out of frequent logs.

    Raises
    ------
    InputError
        If values are not finite: the fit has diverged.
    """
    measures: Measures = {}
    for name, values, grid in (("train", train, target.train), ("test", test, target.test)):
        truth = grid.as_grid(grid.values).to(values.device)
        measures[f"{name}_mse"] = [mean_squared_error(v, truth) for v in values]
        if not all(map(math.isfinite, measures[f"{name}_mse"])):
            raise InputError(f"the fit of {target.name} has diverged: its values are not finite; lower --lr")
        measures[f"{name}_psnr"] = [
            min(peak_signal_to_noise(v, truth, data_range=target.data_range), HIGHEST_PSNR) for v in values
        ]
        if with_ssim:
            measures[f"{name}_ssim"] = [
                structural_similarity(v, truth, dim=target.dim, data_range=target.data_range) for v in values
            ]
    return measures


def scale_spectra(test: Tensor, network: MultiplicativeFilterNetwork, target: FitTarget) -> ScaleSpectra:
    """Spectra of the scales on the test grid: of an image's mean channel, or in a map's central plane kz = 0.

    A four-term Blackman-Harris window (side lobes at -92 dB, lines four pixels to each side) takes off the cross that
    the edges of a field that is not periodic would draw.
    """
    shape = target.test.shape
    truth = target.test.as_grid(target.test.values).to(test)
    spectra = [_log_amplitude(v) for v in (*test, truth)]
    half_widths = torch.tensor([network.half_width(i) for i in range(1, len(test) + 1)], dtype=torch.float64)
    extents = torch.tensor([n / max(shape) for n in shape[-2:]], dtype=torch.float64)
    return ScaleSpectra(torch.stack(spectra[:-1]), spectra[-1], half_widths, extents)


def _log_amplitude(values: Tensor) -> Tensor:
    """log10 of the amplitudes of (*shape, channels), as shares of the sum of the window."""
    field = values.mean(-1)
    field = field - field.mean()
    total = 1.0
    for axis, n in enumerate(field.shape):
        window = _blackman_harris(n).to(field)
        field = field * window.view(-1, *[1] * (field.ndim - 1 - axis))
        total *= float(window.sum())
    amplitude = fftn_centered(field[None] if field.ndim == 2 else field).abs() / total
    central = amplitude[len(amplitude) // 2]
    return torch.log10(central + _TINY).cpu()


def _blackman_harris(n: int) -> Tensor:
    a = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    return 0.35875 - 0.48829 * a.cos() + 0.14128 * (2 * a).cos() - 0.01168 * (3 * a).cos()
