"""Small fits: what a network can hold, and what it keeps of a coarse scale while a finer one is trained."""

import math

import pytest
import torch

from resmfn.networks import NetworkConfig, box_coordinates, build_network

BOX = 32


@pytest.fixture(scope="module")
def picture():
    """Return an image of blobs and fine stripes, periodic, with details up to 14 cycles per box."""
    y, x = (box_coordinates(BOX, 2, dtype=torch.float64) * 2 * math.pi).T
    blobs = torch.exp(3 * (x - 0.5).cos() + 3 * (y + 1).cos() - 6) - 0.7 * torch.exp(
        6 * (x + 2).cos() + 6 * y.cos() - 12
    )
    stripes = 0.15 * (1 + y.cos()) * (11 * x + 5 * y).cos() + 0.1 * (13 * y - 0.4).sin() * (x - 1).sin()
    image = (blobs + stripes).view(BOX, BOX)
    return (image - image.mean()) / (image.max() - image.min())


def network_of(name, hidden_dim):
    config = NetworkConfig(dim=2, hidden_dim=hidden_dim, box_size=BOX)
    return build_network(name, config, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def fit(network, picture, scale, n_steps, learning_rate):
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = (network.evaluate_grid(scale, BOX) - picture).square().mean()
        loss.backward()
        optimizer.step()
        schedule.step()


def energy(image):
    return image.detach().square().mean().item()


def test_a_small_network_holds_a_picture(picture):
    network = network_of("residual-mfn", 64)
    for scale, n_steps in ((1, 50), (2, 100), (3, 300)):
        fit(network, picture, scale, n_steps, 0.01)
    psnr = -10 * math.log10(energy(network.evaluate_grid(3, BOX) - picture))
    assert psnr > 45
    points = network(box_coordinates(BOX, 2, dtype=torch.float64))
    torch.testing.assert_close(points.view(BOX, BOX), network.evaluate_grid(3, BOX))


def forgotten(name, picture):
    """Share of the fitted coarse scale that training the finest one changes."""
    network = network_of(name, 64)
    fit(network, picture, 1, 100, 0.01)
    fit(network, picture, 2, 200, 0.01)
    before = network.evaluate_grid(2, BOX).detach()
    fit(network, picture, 3, 200, 0.005)
    assert energy(network.evaluate_grid(3, BOX) - picture) < 0.5 * energy(before - picture)
    return energy(network.evaluate_grid(2, BOX) - before) / energy(before)


def test_fine_training_leaves_the_coarse_scale_in_place_only_with_skip_and_new_frequencies(picture):
    kept, skip_alone, neither = (forgotten(name, picture) for name in ("residual-mfn", "staged-residual", "staged"))
    assert kept < 0.08
    assert kept < 0.5 * skip_alone
    assert skip_alone < 0.5 < neither
