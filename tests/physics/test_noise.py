"""Noise at a stated signal-to-noise ratio."""

import pytest
import torch

from resmfn.core import ResmfnError, make_generator
from resmfn.physics import add_noise


@pytest.mark.parametrize("snr", [0.05, 0.1, 10.0])
def test_the_variance_of_each_image_sets_its_own_noise(snr: float, generator: torch.Generator) -> None:
    scale = torch.tensor([0.1, 1.0, 20.0], dtype=torch.float64)[:, None, None]
    clean = 5 + scale * torch.randn(3, 128, 128, generator=generator, dtype=torch.float64)
    noise = add_noise(clean, snr, generator=generator) - clean
    ratio = clean.var(dim=(1, 2)) / noise.var(dim=(1, 2))
    torch.testing.assert_close(ratio, torch.full((3,), snr, dtype=torch.float64), rtol=0.05, atol=0)
    assert noise.dtype == torch.float64


def test_noise_is_white_and_of_mean_zero(generator: torch.Generator) -> None:
    clean = torch.randn(1, 128, 128, generator=generator, dtype=torch.float64)
    noise = (add_noise(clean, 1.0, generator=generator) - clean)[0]
    assert noise.mean().abs() < 0.03
    assert (noise[1:] * noise[:-1]).mean().abs() < 0.03
    assert (noise[:, 1:] * noise[:, :-1]).mean().abs() < 0.03


def test_noise_comes_from_the_generator_only() -> None:
    clean, state = torch.randn(2, 8, 8, generator=make_generator(0)), torch.get_rng_state()
    noisy = add_noise(clean, 0.1, generator=make_generator(1))
    assert torch.equal(noisy, add_noise(clean, 0.1, generator=make_generator(1)))
    assert not torch.equal(noisy, add_noise(clean, 0.1, generator=make_generator(2)))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("snr", [0.0, -1.0, float("inf"), float("nan")])
def test_impossible_ratios_are_refused(snr: float, generator: torch.Generator) -> None:
    with pytest.raises(ResmfnError, match="snr must be positive and finite"):
        add_noise(torch.zeros(1, 4, 4), snr, generator=generator)
