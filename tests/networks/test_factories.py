import pytest
import torch

from resmfn.core.errors import InputError
from resmfn.networks import VARIANTS, NetworkConfig, build_network, residual_mfn, variant


def test_variants_are_the_papers_table():
    table = {v.name: (v.skip, v.init, v.staged, v.loss, v.detach_finished) for v in VARIANTS.values()}
    assert table == {
        "vanilla": (False, "old", False, "all", False),
        "staged": (False, "old", True, "current", False),
        "staged-fair": (False, "old", True, "all", True),
        "staged-residual": (True, "old", True, "current", False),
        "residual-mfn": (True, "new", True, "current", False),
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_builds_its_own_network(name):
    config = NetworkConfig(dim=2, hidden_dim=4, box_size=16, head_scale=0.5, quantized=False)
    network = build_network(name, config, generator=torch.Generator(), dtype=torch.float64)
    assert (network.config.residual, network.config.init) == (VARIANTS[name].skip, VARIANTS[name].init)
    assert (network.config.head_scale, network.config.quantized, network.dtype) == (0.5, False, torch.float64)


def test_the_named_network_is_the_method():
    network = residual_mfn(2, 5, 3, 4, 20, quantized=False, generator=torch.Generator(), dtype=torch.float64)
    c = network.config
    assert (c.dim, c.hidden_dim, c.out_dim, c.n_scales, c.box_size, c.quantized) == (2, 5, 3, 4, 20, False)
    assert (c.residual, c.init) == (VARIANTS["residual-mfn"].skip, VARIANTS["residual-mfn"].init)
    assert network.dtype == torch.float64


def test_unknown_variants_are_refused_with_the_choices():
    with pytest.raises(InputError, match="unknown variant 'best'; choose one of vanilla, staged"):
        variant("best")
