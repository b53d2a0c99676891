"""The density: which scales it adds up, what a ReLU makes of them, which parameters a variant's loss reaches."""

import pytest
import torch

from resmfn.core import make_generator
from resmfn.networks import VARIANTS
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.slice_sums import MapEquations, SliceSums
from resmfn.reconstruction.published.config import PublishedSettings
from resmfn.reconstruction.published.field import PublishedField
from resmfn.rotations import random_rotations

BOX, SCALES = 16, 3


def draw(**settings) -> PublishedField:
    chosen = PublishedSettings(bacon_hidden_dim=12, **settings)
    return PublishedField.draw(chosen, BOX, generator=make_generator(7), device=torch.device("cpu"))


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("heads", ["relu", "linear"])
def test_density_is_the_sum_of_the_heads_that_the_variant_adds_up(name, heads):
    field = draw(variant=name, heads=heads)
    with torch.no_grad():
        whole = [field.network.evaluate_grid(scale, BOX) for scale in range(1, SCALES + 1)]
        own = [whole[0], *(b - a for a, b in zip(whole, whole[1:], strict=False))] if field.kind.skip else whole[-1:]
        expected = sum(part.relu() if heads == "relu" else part for part in own)
        torch.testing.assert_close(field.decode(MapGrid(BOX, BOX), SCALES), expected, atol=1e-5, rtol=1e-4)


def equations() -> MapEquations:
    from resmfn.fourier import half_plane_pixels

    generator = make_generator(8)
    pixels = half_plane_pixels(6, radius_min=0.5)
    sums = SliceSums(MapGrid(BOX, BOX), torch.device("cpu"))
    values = torch.randn(9, len(pixels), 2, generator=generator)
    rotation = random_rotations(9, generator=generator)
    sums.add(torch.view_as_complex(values), torch.ones(9, len(pixels)), rotation, pixels)
    return MapEquations(sums)


@pytest.mark.parametrize(
    ("name", "moved"),
    [("residual-mfn", {1, 2}), ("staged", {2}), ("staged-fair", {1, 2}), ("vanilla", {1, 2})],
)
def test_a_step_at_the_second_scale_moves_the_heads_that_its_loss_counts(name, moved):
    field = draw(variant=name, heads="linear")
    before = [head.weight.detach().clone() for head in field.network.heads]
    optimizer = torch.optim.Adam(field.network.parameters(), lr=1e-3)
    field.fit_step(equations(), 2, optimizer)
    pairs = zip(before, field.network.heads, strict=True)
    changed = {i for i, (a, head) in enumerate(pairs, 1) if not torch.equal(a, head.weight)}
    assert changed == moved


def test_a_finished_scale_of_the_fair_variant_moves_its_head_alone():
    gradients = {}
    for name in ("staged", "staged-fair", "vanilla"):
        field = draw(variant=name, heads="linear")
        field.fit_step(equations(), 2, torch.optim.SGD(field.network.parameters(), lr=0.0))
        gradients[name] = field.network.linears[0].weight.grad.clone()
    torch.testing.assert_close(gradients["staged-fair"], gradients["staged"])
    assert not torch.allclose(gradients["vanilla"], gradients["staged"])


def test_steps_lower_the_loss_from_an_amplitude_that_the_data_set():
    field, quadratic = draw(heads="relu"), equations()
    field.set_amplitude(quadratic)
    optimizer = torch.optim.Adam(field.network.parameters(), lr=1e-2)
    losses = [field.fit_step(quadratic, 1, optimizer) for _ in range(30)]
    assert field.amplitude > 0
    assert losses[-1] < losses[0]
