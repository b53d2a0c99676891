"""What a coarse scale keeps while finer ones train and every parameter is free; and bands of trained networks.

One picture, one seed, 64 hidden units, 100 + 100 + 200 steps of the published size. Measured: the training of scale 3
changes 3.9 % of scale 2's energy in a Residual MFN, whose parameters behind scale 2 move by 14 % of their norm
meanwhile (3.1 % with skips and old frequencies), and 85 % in staged BACON, whose parameters move by 19 %.
"""

import math
from dataclasses import dataclass

import pytest
import torch

from resmfn.fitting.field import evaluate_scales
from resmfn.fitting.network_stack import NetworkStack
from resmfn.fitting.trainer import Trainer, TrainingPlan
from resmfn.networks import VARIANTS, box_coordinates

STARTS, EPOCHS = (0, 100, 200), 400
"""Scale 3 joins last; what it does to scale 2 is what is looked at."""
FORGOTTEN_AT_MOST = 0.06
"""Share of a coarse output's energy: the tolerance to which it is said to stay."""


@dataclass
class Training:
    """A trained network, and what scales 1 and 2 were before scale 3 joined."""

    network: object
    before: torch.Tensor  #: (2, P, 1) their output on the training points at epoch 200
    after: torch.Tensor  #: (3, P, 1) at the end
    moved: float  #: relative change of the parameters behind scale 2 since then


@pytest.fixture(scope="module")
def train():
    """Return a function that trains a variant on a small picture, each only once."""
    from fitting.conftest import picture
    from resmfn.data.pictures.files import NamedImage
    from resmfn.fitting.samples import image_target
    from resmfn.networks import MultiplicativeFilterNetwork, NetworkConfig

    done = {}
    target = image_target(NamedImage("picture", picture(48, 48, 1)))
    values = ((target.train.values - target.offset) / target.gain)[None]

    def coarse_parameters(network):
        return torch.cat([p.detach().flatten() for p in network.active_parameters(2)])

    def _train(variant, *, quantized=False):
        if (variant, quantized) not in done:
            chosen = VARIANTS[variant]
            config = NetworkConfig(
                dim=2, hidden_dim=64, box_size=24, residual=chosen.skip, init=chosen.init, quantized=quantized
            )
            generator = torch.Generator().manual_seed(2)
            network = MultiplicativeFilterNetwork(config, generator=generator, dtype=torch.float64)
            stack = NetworkStack([network])
            trainer = Trainer(
                stack, target.train.coords, values, TrainingPlan(variant=chosen, starts=STARTS, epochs=EPOCHS)
            )
            trainer.advance(STARTS[-1])
            stack.write_back()
            before, parameters = evaluate_scales(network, target.train.coords, 2), coarse_parameters(network)
            trainer.advance(EPOCHS - STARTS[-1])
            stack.write_back()
            moved = ((coarse_parameters(network) - parameters).norm() / parameters.norm()).item()
            done[variant, quantized] = Training(
                network, before, evaluate_scales(network, target.train.coords, 3), moved
            )
        return done[variant, quantized], values[0]

    return _train


def energy(values):
    return values.square().mean().item()


def forgotten(training):
    """Share of scale 2's energy that the training of scale 3 changed."""
    return energy(training.after[1] - training.before[1]) / energy(training.before[1])


def test_with_skips_and_new_frequencies_the_coarse_output_stays_while_its_parameters_move(train):
    training, values = train("residual-mfn")
    assert forgotten(training) < FORGOTTEN_AT_MOST
    assert training.moved > 0.1
    assert energy(training.after[2] - values) < 0.3 * energy(training.before[1] - values)  # and scale 3 did learn


def test_without_either_it_does_not_stay(train):
    kept, _ = train("residual-mfn")
    neither, values = train("staged")
    assert forgotten(neither) > 0.5 > 8 * forgotten(kept)
    assert energy(neither.after[1] - values) > 10 * energy(neither.before[1] - values)  # what was fitted is spoilt


# --- bands of trained networks -----------------------------------------------------------------------


def spectrum(values, length):
    """Energy of (n, n) samples over ``length`` boxes, and each coefficient's largest frequency, cycles per box."""
    n = values.shape[0]
    k = torch.fft.fftfreq(n, length / n, dtype=torch.float64).abs()
    return torch.fft.fft2(values).abs().square(), torch.maximum(k[:, None], k)


@pytest.mark.parametrize("variant", ["residual-mfn", "staged"])
def test_quantized_scales_end_exactly_at_their_band_after_training(train, variant):
    """Periodic in the box, so the discrete spectrum is the true one: nothing but round-off beyond the band."""
    training, _ = train(variant, quantized=True)
    network = training.network
    values = evaluate_scales(network, box_coordinates(51, 2, dtype=torch.float64), 3).view(3, 51, 51)
    for scale in (1, 2, 3):
        energies, reach = spectrum(values[scale - 1], 1)
        half_width = network.half_width(scale)
        assert energies[reach > half_width + 0.5].sum() < 1e-24 * energies.sum()
        assert energies[(reach - half_width).abs() < 0.5].sum() > 1e-9 * energies.sum()


@pytest.mark.parametrize("variant", ["residual-mfn", "staged"])
def test_plain_scales_have_no_energy_outside_their_band_but_the_windows_leak(train, variant):
    """Not periodic: the field goes on outside the box, and is seen through a Blackman-Harris window of 8 boxes.

    The window smears a line by 4 / 8 cycles per box, and beyond that leaves side lobes at -92 dB: of the energy, at
    most some 1e-9. Between band and band + 1/2 nothing can be said.
    """
    length, n = 8, 8 * 3 * 24
    training, _ = train(variant)
    network = training.network
    a = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    window = 0.35875 - 0.48829 * a.cos() + 0.14128 * (2 * a).cos() - 0.01168 * (3 * a).cos()
    values = evaluate_scales(network, box_coordinates(n, 2, dtype=torch.float64) * length, 3).view(3, n, n)
    for scale in (1, 2, 3):
        energies, reach = spectrum(values[scale - 1] * window[:, None] * window, length)
        half_width = network.half_width(scale)
        assert energies[reach > half_width + 4 / length].sum() < 1e-8 * energies.sum()
        assert energies[reach > 0.7 * half_width].sum() > 1e-6 * energies.sum()
