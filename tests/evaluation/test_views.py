"""Densities of viewing directions."""

import pytest
import torch

from resmfn.evaluation import (
    compare_poses,
    evaluate_run,
    symmetric_copies,
    view_coverage,
    view_density,
    view_directions,
)
from resmfn.evaluation.views import fibonacci_sphere
from resmfn.physics.phantoms.blobs import GaussianBlobs
from resmfn.rotations import (
    asymmetric_unit,
    concentrated_rotations,
    matrix_from_euler,
    point_group,
    random_rotations,
    super_fibonacci,
)


def test_directions_are_evenly_spread():
    directions = fibonacci_sphere(500)
    torch.testing.assert_close(torch.linalg.vector_norm(directions, dim=-1), torch.ones(500, dtype=torch.float64))
    torch.testing.assert_close(
        directions.T @ directions / 500, torch.eye(3, dtype=torch.float64) / 3, rtol=0, atol=1e-3
    )


def test_the_direction_is_the_axis_that_is_summed_along(generator):
    """Moving the map along its viewing direction leaves the image as it is."""
    blobs = GaussianBlobs.random(4, radius=4, generator=generator, dtype=torch.float64)
    rotation = random_rotations(3, generator=generator, dtype=torch.float64)
    for pose, direction in zip(rotation, view_directions(rotation), strict=True):
        moved = GaussianBlobs(centers=blobs.centers + 2.5 * direction, widths=blobs.widths, amplitudes=blobs.amplitudes)
        torch.testing.assert_close(moved.project(pose[None], 20), blobs.project(pose[None], 20))


def test_rot_and_tilt_are_its_longitude_and_colatitude():
    direction = view_directions(matrix_from_euler(torch.tensor([[90.0, 90.0, 17.0]], dtype=torch.float64)))
    torch.testing.assert_close(direction, torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64))


def test_the_density_has_mean_one_wherever_the_views_are(generator):
    rotation = concentrated_rotations(300, 6.0, generator=generator, dtype=torch.float64)
    assert view_density(rotation, fibonacci_sphere(4000)).mean() == pytest.approx(1, abs=0.01)


def test_even_views_have_density_one_everywhere():
    coverage = view_coverage(super_fibonacci(5000, torch.float64))
    assert coverage.largest == pytest.approx(1, abs=0.12)
    assert coverage.smallest == pytest.approx(1, abs=0.12)
    assert coverage.sparse_share == 0


def test_uneven_views_are_seen(generator):
    coverage = view_coverage(concentrated_rotations(2000, 4.0, generator=generator, dtype=torch.float64))
    # density c exp(c (|cos tilt| - 1)) / (1 - exp(-c)) on the half sphere: 4.07 at the poles, 0.07 on the equator
    assert 3 < coverage.largest < 4.5
    assert coverage.smallest < 0.2
    assert coverage.sparse_share > 0.4


def test_views_from_behind_count_as_views_from_the_front(generator):
    rotation = random_rotations(200, generator=generator, dtype=torch.float64)
    behind = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)) @ rotation
    first, second = view_coverage(rotation), view_coverage(behind)
    assert first.largest == pytest.approx(second.largest)
    assert first.sparse_share == second.sparse_share


def test_a_symmetric_map_has_the_same_views_whichever_copy_a_search_finds(generator):
    """Poses A and A S give the same image: the density, copies counted, does not depend on the choice."""
    group = point_group("D3")
    rotation = concentrated_rotations(60, 4.0, generator=generator, dtype=torch.float64)
    chosen = group[torch.randint(len(group), (60,), generator=generator)]
    directions = fibonacci_sphere(300)
    one, other = (view_density(symmetric_copies(r, group), directions) for r in (rotation, rotation @ chosen))
    torch.testing.assert_close(one, other)
    assert float((view_density(rotation, directions) - view_density(rotation @ chosen, directions)).abs().max()) > 0.5
    turned = view_density(symmetric_copies(rotation, group), directions @ group[1].T)
    torch.testing.assert_close(turned, one)


def test_an_evaluation_counts_the_copies_in_the_true_frame(generator):
    group = point_group("O")
    estimated = super_fibonacci(4000, torch.float64)
    estimated = estimated[asymmetric_unit(estimated, group)]
    frame = random_rotations(1, generator=generator, dtype=torch.float64)
    compared = compare_poses(estimated, estimated @ frame)
    without, with_copies = evaluate_run(None, compared, estimated), evaluate_run(None, compared, estimated, group)
    assert without.views.largest > 2
    assert with_copies.views.largest < 1.3
    assert with_copies.n_copies == 24
    assert len(with_copies.rotations) == 24 * len(estimated)
