"""Several networks of one kind evaluated, and trained, as one: their small matrices stand in one tensor.

A batched matrix product of (B, P, h) with (B, h, h) keeps a GPU busy where B single ones would not. With one network it
is the same work as :meth:`MultiplicativeFilterNetwork.forward_cached`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from resmfn.core.errors import ShapeError
from resmfn.networks import MultiplicativeFilterNetwork, SineFilter


class NetworkStack:
    """Trainable copies of the weights of ``B`` networks with equal settings.

    Parameters
    ----------
    networks
        At least one; their configs must be equal. Their own weights are left alone until :meth:`write_back`.
    """

    def __init__(self, networks: Sequence[MultiplicativeFilterNetwork]) -> None:
        if not networks or any(n.config != networks[0].config for n in networks):
            raise ShapeError("a stack needs one network or more, all with the same settings")
        self.networks = list(networks)
        self.config = networks[0].config
        self._linears = [self._stacked([_linears(n)[i] for n in networks]) for i in range(self.config.n_scales)]
        self._heads = [self._stacked([_heads(n)[i] for n in networks]) for i in range(self.config.n_scales)]

    @staticmethod
    def _stacked(layers: Sequence[nn.Linear]) -> tuple[Tensor, Tensor | None]:
        """Weights (B, in, out) and biases (B, 1, out) of one layer of every network, as leaves."""
        weight = torch.stack([layer.weight.detach().T for layer in layers]).contiguous().requires_grad_()
        if layers[0].bias is None:
            return weight, None
        return weight, torch.stack([layer.bias.detach()[None] for layer in layers]).requires_grad_()

    def __len__(self) -> int:
        return len(self.networks)

    def parameters(self) -> list[Tensor]:
        """List the leaves that an optimizer moves, each with the networks along its first axis."""
        return [t for pair in (*self._linears, *self._heads) for t in pair if t is not None]

    def filter_cache(self, coords: Tensor, scale: int | None = None) -> list[Tensor]:
        """Evaluate the frozen filters of every network at (P, dim) points: ``scale + 1`` tensors (B, P, hidden_dim)."""
        scale = self.config.n_scales if scale is None else scale
        with torch.no_grad():
            return [torch.stack([_filters(n)[i](coords) for n in self.networks]) for i in range(scale + 1)]

    def outputs(
        self, cache: Sequence[Tensor], n_scales: int, *, detach_finished: bool = False, last_only: bool = False
    ) -> list[Tensor]:
        """Compute scales 1 to ``n_scales`` at the points of a cache.

        Parameters
        ----------
        cache
            From :meth:`filter_cache`, of at least ``n_scales + 1`` filters.
        n_scales
            Finest scale; no finer one is computed.
        detach_finished
            Every head but the last one's sees its features detached (the paper's "staged, fair").
        last_only
            Return the finest scale alone, and compute no head that it does not need.

        Returns
        -------
        list of Tensor
            (B, P, out_dim) a scale, coarse to fine.
        """
        z = cache[0]
        total: Tensor | None = None
        results = []
        for i, (linear, head) in enumerate(zip(self._linears[:n_scales], self._heads, strict=False), start=1):
            z = _apply(linear, z) * cache[i]
            wanted = i == n_scales or not last_only
            if not (wanted or self.config.residual):
                continue
            y = _apply(head, z.detach() if detach_finished and i < n_scales else z)
            total = y if total is None or not self.config.residual else total + y
            if wanted:
                results.append(total)
        return results

    def write_back(self) -> list[MultiplicativeFilterNetwork]:
        """Copy the trained weights into the networks, and return those."""
        with torch.no_grad():
            for b, network in enumerate(self.networks):
                layers = (*_linears(network), *_heads(network))
                for layer, (weight, bias) in zip(layers, (*self._linears, *self._heads), strict=True):
                    layer.weight.copy_(weight[b].T)
                    if bias is not None:
                        layer.bias.copy_(bias[b, 0])
        return self.networks

    def state(self) -> list[Tensor]:
        """Copy all trained weights, for a checkpoint."""
        return [p.detach().cpu().clone() for p in self.parameters()]

    def load_state(self, state: Sequence[Tensor]) -> None:
        """Take the weights of :meth:`state`."""
        with torch.no_grad():
            for parameter, value in zip(self.parameters(), state, strict=True):
                parameter.copy_(value)


def _apply(layer: tuple[Tensor, Tensor | None], x: Tensor) -> Tensor:
    weight, bias = layer
    return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias, x, weight)


# nn.ModuleList holds bare modules for a type checker: these say what is in them.
def _filters(network: MultiplicativeFilterNetwork) -> list[SineFilter]:
    return cast("list[SineFilter]", list(network.filters))


def _linears(network: MultiplicativeFilterNetwork) -> list[nn.Linear]:
    return cast("list[nn.Linear]", list(network.linears))


def _heads(network: MultiplicativeFilterNetwork) -> list[nn.Linear]:
    return cast("list[nn.Linear]", list(network.heads))
