"""One scale of a network fitted to a quadratic by linear algebra, the scales below it held: no optimizer, no rate.

A scale adds ``y = sum_c h_c (A z)_c g_c`` to the one below it: z are the features below, A a trained map, h a head, g
the filter. For fixed z that is linear in the products ``B = diag(h) A``, W^2 numbers, so the fit is a linear
least-squares problem, which conjugate gradients solve in some thirty steps. A and h then follow from B: each row of A
is a row of B scaled to a fixed length, and the head is what was taken off.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from resmfn.core.errors import InputError
from resmfn.fourier import radius_grid
from resmfn.inverse.conjugate_gradients import conjugate_gradients
from resmfn.inverse.crew import Alone, Crew
from resmfn.inverse.normal_equations import mask_window
from resmfn.inverse.quadratic import NormalOperator
from resmfn.networks.filters import SineFilter
from resmfn.networks.mfn import MultiplicativeFilterNetwork
from resmfn.networks.series import crop_centered, modulate_and_sum, pad_centered, sample_series, series_from_packed

ROW_LENGTH = math.sqrt(2)
"""Of the rows of A: that of their starting weights in the mean, uniform in +-sqrt(6 / W), so that features keep their
size from scale to scale."""
_TOLERANCE = 1e-5
"""Of the residual, at which steps end: coarse scales have more products than frequencies, so that the equations are
singular, and steps in single precision would go on into noise."""
_RIDGE = 1e-4
"""Of the features' Gram matrix in the preconditioner, as a share of its mean eigenvalue."""


def fit_scale(
    network: MultiplicativeFilterNetwork,
    operator: NormalOperator,
    mask: Tensor,
    *,
    scale: int,
    amplitude: float,
    steps: int,
    shell_weights: Tensor | None = None,
    crew: Crew | None = None,
) -> Tensor:
    """Minimize a quadratic over what one scale adds to those below it, which do not change.

    Parameters
    ----------
    network
        Residual, quantized, with one output and no biases in its maps. The scale's map and head are changed.
    operator
        What the data say of real fields (N, ..., N), with its prior. Of the network's band, what N samples cannot hold
        is cut off.
    mask
        (N, ..., N): the field is mask * amplitude * network.
    scale
        1 is the coarsest.
    amplitude
        The field's value where the network gives 1.
    steps
        Of conjugate gradients, each on all data.
    shell_weights
        (S,): how the operator weighs waves of ``round(|k|)`` cycles per box, the last one goes on. Only for speed:
        filters of well and badly determined frequencies then converge together.
    crew
        Processes that fit together: each works on its share of the scale's channels, and all end with the same network.
        The operator must be theirs as well.

    Returns
    -------
    Tensor
        The fitted field (N, ..., N).
    """
    _check(network, operator, mask)
    problem = _Scale(network, operator, mask, scale, amplitude, crew or Alone())
    if shell_weights is not None:
        problem.weigh_filters(shell_weights)
    with torch.no_grad():
        products = conjugate_gradients(
            problem.normal,
            problem.adjoint_of_rest(),
            problem.precondition,
            iterations=steps,
            tolerance=_TOLERANCE,
        )
        _write(network, scale, products)
        return problem.whole(problem.below + problem.added(products))


class _Scale:
    """The linear map from products (W, W) to the field that a scale adds, and its normal equations."""

    def __init__(
        self,
        network: MultiplicativeFilterNetwork,
        operator: NormalOperator,
        mask: Tensor,
        scale: int,
        amplitude: float,
        crew: Crew,
    ) -> None:
        self.operator, self.mask, self.crew, self.amplitude = operator, mask, crew, amplitude
        self.size, self.window = mask.shape[0], mask_window(mask)
        self.inside = mask[self.window]
        with torch.no_grad():
            self.features, total = network.spectra_below(scale)
            self.below = self._sampled(total)
        self.sine = cast("SineFilter", network.filters[scale])
        mine = crew.share_of(len(self.features))
        self.channels = slice(mine.start, mine.stop)
        flat = self.features.flatten(1)
        gram = (flat @ flat.T).double()
        ridge = _RIDGE * gram.trace() / len(gram)
        self.inverse_gram = torch.linalg.inv(gram + ridge * torch.eye(len(gram)).to(gram)).to(flat)
        self.filter_weights = flat.new_ones(len(flat), 1)

    def weigh_filters(self, shell_weights: Tensor) -> None:
        """Take the operator's mean weight over the frequencies that each filter moves the features to."""
        spread = self.features.square().mean(0)
        dim, half = spread.ndim, round(self.sine.half_width)
        size = spread.shape[0] + 2 * half
        shell = radius_grid(size, dim, spread.device).round().long().clamp_max(len(shell_weights) - 1)
        weights = shell_weights.to(spread)[shell]
        spectrum = torch.fft.rfftn(pad_centered(spread / spread.sum(), size, dim))
        around = torch.fft.irfftn(torch.fft.rfftn(weights) * spectrum.conj(), s=weights.shape)
        # The correlation with a spectrum whose middle is at size // 2 is found size // 2 too early.
        around = around.roll([size // 2] * dim, list(range(dim)))
        at = (self.sine.frequencies.round().long() + size // 2).unbind(1)
        self.filter_weights = around[at].clamp_min(1e-6 * float(shell_weights.max()))[:, None]

    def precondition(self, products: Tensor) -> Tensor:
        """Undo the correlation of the features, and how differently the data weigh the filters."""
        return products @ self.inverse_gram / self.filter_weights

    def normal(self, products: Tensor) -> Tensor:
        """Return the adjoint of the data's weights of the field that products add."""
        mine, part = self._part(products)
        field = part.detach().clone(memory_format=torch.contiguous_format)
        self.crew.sum_(field)
        return self._pulled_back(mine, part, self.operator.apply(self.whole(field))[self.window])

    def adjoint_of_rest(self) -> Tensor:
        """Return the adjoint of what the scales below leave unexplained."""
        rest = self.operator.rhs - self.operator.apply(self.whole(self.below))
        width = len(self.features)
        return self._pulled_back(*self._part(self.features.new_zeros(width, width)), rest[self.window])

    def added(self, products: Tensor) -> Tensor:
        """Return the field that products add, within the window."""
        field = self._part(products)[1].detach().clone(memory_format=torch.contiguous_format)
        self.crew.sum_(field)
        return field

    def whole(self, inside: Tensor) -> Tensor:
        """Return the whole field of what is within the window."""
        result = torch.zeros_like(self.mask)
        result[self.window] = inside
        return result

    def _part(self, products: Tensor) -> tuple[Tensor, Tensor]:
        """Return this process's rows of the products, and what they add to the field; with the way back."""
        with torch.enable_grad():
            mine = products[self.channels].detach().requires_grad_()
            fields = (mine @ self.features.flatten(1)).view(-1, *self.features.shape[1:])
            packed = modulate_and_sum(fields, self.sine, fields.new_ones(1, len(fields)), self.channels)
            return mine, self._sampled(packed)

    def _pulled_back(self, mine: Tensor, part: Tensor, slope: Tensor) -> Tensor:
        # The same as with the slope named as the gradient of part, for which PyTorch imports sympy: a second.
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad((part * slope).sum(), mine)
        result = gradient.new_zeros(len(self.features), gradient.shape[1])
        result[self.channels] = gradient
        self.crew.sum_(result)
        return result

    def _sampled(self, packed: Tensor) -> Tensor:
        """Return the masked field of a packed series (1, n, ..., n) within the window."""
        dim = packed.ndim - 1
        series = crop_centered(series_from_packed(packed)[0], 2 * ((self.size - 1) // 2) + 1, dim)
        return sample_series(series, self.size, dim=dim)[self.window] * (self.inside * self.amplitude)


def _check(network: MultiplicativeFilterNetwork, operator: NormalOperator, mask: Tensor) -> None:
    config = network.config
    if config.out_dim != 1 or not config.residual or not config.quantized or config.init == "old":
        raise InputError(
            "scales are fitted one by one in residual, quantized networks with one output and maps without bias, got "
            f"residual={config.residual}, quantized={config.quantized}, out_dim={config.out_dim}, init={config.init!r}"
        )
    if mask.shape != operator.rhs.shape or config.dim != mask.ndim:
        raise InputError(
            f"mask and fields must have the network's {config.dim} dimensions and one shape, got "
            f"{tuple(mask.shape)} and {tuple(operator.rhs.shape)}"
        )
    if operator.rhs.dtype != network.dtype:
        raise InputError(
            f"network and data must have the same real dtype, got {network.dtype} and {operator.rhs.dtype}"
        )


def _write(network: MultiplicativeFilterNetwork, scale: int, products: Tensor) -> None:
    """Divide products into a map with rows of one length and a head. A row of zeros leaves the map as it is."""
    length = products.norm(dim=1, keepdim=True)
    linear = cast("nn.Linear", network.linears[scale - 1]).weight
    head = cast("nn.Linear", network.heads[scale - 1])
    rows = products / length.clamp_min(torch.finfo(length.dtype).tiny) * ROW_LENGTH
    linear.copy_(torch.where(length > 0, rows, linear))
    head.weight.copy_(length.T / ROW_LENGTH)
    head.bias.zero_()
