"""Correlation by direction, sharpening and local resolution on maps whose answers are known."""

import pytest
import torch

from resmfn.core import make_generator
from resmfn.evaluation import directional_fsc, fit_guinier, local_resolution
from resmfn.evaluation.directional import DirectionalFsc
from resmfn.evaluation.fsc import fourier_shell_correlation
from resmfn.fourier import low_pass, radius_grid, soft_sphere
from resmfn.fourier.grids import centered_indices
from resmfn.fourier.transforms import fftn_centered, ifftn_centered

SIZE = 32


def noise(seed: int) -> torch.Tensor:
    return torch.randn(SIZE, SIZE, SIZE, generator=make_generator(seed), dtype=torch.float64)


def halves_that_agree_within(cutoff: torch.Tensor) -> list[torch.Tensor]:
    """Return halves with the same signal where |k| is below a cutoff, and noise of their own everywhere."""
    signal = ifftn_centered(fftn_centered(noise(1)) * (radius_grid(SIZE, 3) < cutoff)).real
    return [signal + 0.05 * noise(seed) for seed in (2, 3)]


def test_a_map_resolved_alike_everywhere_is_round() -> None:
    found = directional_fsc(*halves_that_agree_within(torch.tensor(9.5)), 1.0, n_directions=60)
    resolutions = found.resolutions()
    assert float(resolutions.min()) > SIZE / 11
    assert float(resolutions.max()) < SIZE / 8.5
    assert found.sphericity() > 0.97


def test_the_direction_that_is_missing_is_named() -> None:
    axis = centered_indices(SIZE, dtype=torch.float64)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    along_z = z.abs() / torch.stack((x, y, z)).norm(dim=0).clamp_min(1e-9) > 0.8
    cutoff = torch.where(along_z, 4.5, 12.5)
    found = directional_fsc(*halves_that_agree_within(cutoff), 1.0, n_directions=60)
    resolutions = found.resolutions()
    assert float(found.directions[int(resolutions.argmax())][2]) > 0.7
    assert float(resolutions[found.directions[:, 2] > 0.97].min()) > SIZE / 6
    assert float(resolutions[found.directions[:, 2] < 0.2].max()) < SIZE / 10
    assert found.sphericity() < 0.97


def test_a_sphere_has_sphericity_one_and_a_rod_less() -> None:
    directions = directional_fsc(noise(1), noise(1), 1.0, n_directions=300).directions
    frequency = torch.arange(101, dtype=torch.float64) / 200

    def body(radius: torch.Tensor) -> DirectionalFsc:
        return DirectionalFsc(directions, frequency, (frequency[None] < radius[:, None]).double())

    assert body(torch.full((300,), 0.3)).sphericity() == pytest.approx(1, abs=0.02)
    axes = torch.tensor([0.08, 0.08, 0.32], dtype=torch.float64)
    rod = body(1 / (directions / axes).norm(dim=1))
    assert rod.sphericity() == pytest.approx(0.77, abs=0.04)  # a prolate spheroid of 4 : 1 has 0.770


def test_the_area_ratio_is_that_of_the_least_and_the_most_resolved_direction() -> None:
    directions = directional_fsc(noise(1), noise(1), 1.0, n_directions=8).directions
    frequency = torch.arange(101, dtype=torch.float64) / 200
    falls = torch.tensor([0.2, 0.2, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4], dtype=torch.float64)
    curves = (1 - frequency[None] / falls[:, None]).clamp_min(0)  # triangles: areas as 0.1 to 0.4
    assert DirectionalFsc(directions, frequency, curves).area_ratio() == pytest.approx(0.25, abs=0.002)


def test_too_few_shells_have_no_fall() -> None:
    curve = fourier_shell_correlation(noise(1), noise(1), 3.0)
    assert fit_guinier(noise(1), curve, 9.0) is None
    assert fit_guinier(noise(1), curve, 6.0) is not None


def test_the_worse_half_of_a_map_is_told_from_the_better() -> None:
    size, pixel = 40, 2.5
    generator = make_generator(5)
    x = centered_indices(size, dtype=torch.float64)
    fine = torch.randn(size, size, size, generator=generator, dtype=torch.float64)
    coarse = ifftn_centered(fftn_centered(fine) * (radius_grid(size, 3) < 5.5)).real
    signal = torch.where(x > 0, fine, coarse)  # fine where x > 0
    halves = [signal + 0.3 * torch.randn(signal.shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    mask = soft_sphere(size, 18.0, 1.0, dtype=torch.float64)
    found = local_resolution(*halves, mask, pixel, generator=make_generator(1))
    assert bool((found[mask == 0] == 0).all())
    left, right = (found[20, 20, column] for column in (4, 36))
    assert float(right) < 6.5
    assert float(left) > 1.5 * float(right)


def test_what_a_mask_adds_is_taken_out_of_every_direction() -> None:
    generator = torch.Generator().manual_seed(6)
    first, second = (torch.randn(24, 24, 24, generator=generator) for _ in range(2))
    added = torch.full((13,), 0.2, dtype=torch.float64)
    plain = directional_fsc(first, second, 2.0, n_directions=8).correlation
    less = directional_fsc(first, second, 2.0, added_by_mask=added, n_directions=8).correlation
    torch.testing.assert_close(less, ((plain - 0.2) / 0.8).clamp_min(-1.0))


def test_strong_shells_do_not_leak_through_a_mask_into_the_cones() -> None:
    """Two maps share all below shell 6 and nothing beyond, where they have a millionth of the power."""
    generator = make_generator(4)
    shared, *own = (torch.randn(40, 40, 40, generator=generator, dtype=torch.float64) for _ in range(3))
    strong = 1e3 * low_pass(shared, 6.0, 0.0)
    halves = [strong + noise - low_pass(noise, 6.0, 0.0) for noise in own]
    found = directional_fsc(*halves, 1.0, soft_sphere(40, 9.0, 3.0), n_directions=40)
    assert float(found.correlation[:, 10:20].mean(0).abs().max()) < 0.3  # 0.9 of maps that are not whitened
    assert float(found.resolutions().median()) > 40 / 10


def test_a_half_map_of_nothing_agrees_in_no_direction() -> None:
    found = directional_fsc(noise(1), torch.zeros(SIZE, SIZE, SIZE), 1.0, n_directions=8)
    assert bool(found.resolutions().isinf().all())
    assert found.area_ratio() == 0
    assert found.sphericity() == 0
