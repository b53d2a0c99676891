"""Compiled loops give what PyTorch gives, but for rounding; without numba PyTorch does all."""

import sys

import pytest
import torch

from resmfn.core import make_generator
from resmfn.core.errors import ShapeError
from resmfn.physics.compiled import compiled_loops, loops, version_of_numba
from resmfn.physics.projection import add_slices, half_plane_pixels
from resmfn.rotations import random_rotations

N_IMAGES, SIDE = 7, 24
numba = pytest.importorskip("numba", reason="compiled loops need numba")


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch):
    """Return what makes a computer one without numba."""

    def hidden() -> None:
        monkeypatch.setitem(sys.modules, "numba", None)
        monkeypatch.delitem(sys.modules, "resmfn.physics.compiled.kernels", raising=False)
        monkeypatch.delattr("resmfn.physics.compiled.kernels", raising=False)
        loops._loops.cache_clear()

    yield hidden
    loops._loops.cache_clear()


def inserted(values: torch.Tensor, weights: torch.Tensor, rotation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    sums = torch.zeros(SIDE, SIDE, SIDE, dtype=values.dtype), torch.zeros(SIDE, SIDE, SIDE, dtype=weights.dtype)
    add_slices(sums, values, weights, rotation, half_plane_pixels(5.0))
    return sums


def scene(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    n_pixels, generator = len(half_plane_pixels(5.0)), make_generator(1)
    values = torch.randn(N_IMAGES, n_pixels, 2, generator=generator, dtype=dtype)
    weights = torch.rand(N_IMAGES, n_pixels, generator=generator, dtype=dtype)
    return torch.view_as_complex(values), weights, random_rotations(N_IMAGES, generator=generator).to(dtype)


def test_slices_are_added_as_pytorch_adds_them(without_numba, monkeypatch: pytest.MonkeyPatch) -> None:
    values, weights, rotation = scene()
    assert compiled_loops(values, weights) is not None
    calls, add = [], loops.CompiledLoops.add_slices
    monkeypatch.setattr(loops.CompiledLoops, "add_slices", lambda *given: calls.append(1) or add(*given))
    by_loops = inserted(values, weights, rotation)
    assert calls == [1]
    assert version_of_numba() == numba.__version__
    without_numba()
    assert compiled_loops(values, weights) is None
    assert version_of_numba() is None
    by_torch = inserted(values, weights, rotation)
    for found, expected in zip(by_loops, by_torch, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert float(found.abs().sum()) > 0


def test_conjugates_negatives_and_parts_of_tensors_are_added_as_what_they_stand_for() -> None:
    values, weights, rotation = scene()
    plain = inserted(values.conj().resolve_conj(), weights, rotation)
    lazy = inserted(values.conj(), weights, rotation)
    assert torch.equal(lazy[0], plain[0])
    wide = torch.stack((values, values), dim=-1)[..., 0]
    assert not wide.is_contiguous()
    assert torch.equal(inserted(wide, weights, rotation)[0], inserted(values, weights, rotation)[0])


def test_sums_that_are_a_part_of_a_larger_tensor_are_filled_in_place() -> None:
    values, weights, rotation = scene()
    large = torch.zeros(SIDE, SIDE, 2 * SIDE, dtype=values.dtype), torch.zeros(SIDE, SIDE, 2 * SIDE)
    parts = tuple(each[:, :, ::2] for each in large)
    add_slices(parts, values, weights, rotation, half_plane_pixels(5.0))
    for found, expected in zip(parts, inserted(values, weights, rotation), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_points_beyond_the_grid_fall_into_its_last_cells_as_with_pytorch(without_numba) -> None:
    values, weights, rotation = scene()
    stretched = 1.15 * rotation  # the rim of the slice lies outside
    by_loops = inserted(values, weights, stretched)
    without_numba()
    for found, expected in zip(by_loops, inserted(values, weights, stretched), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_double_precision_and_gradients_stay_with_pytorch() -> None:
    values, weights, _ = scene(torch.float64)
    assert compiled_loops(values) is None
    assert compiled_loops(weights) is None
    assert compiled_loops(weights.float()) is not None
    assert compiled_loops(weights.float().requires_grad_()) is None


def test_what_does_not_fit_together_is_refused() -> None:
    values, weights, rotation = scene()
    pixels, cube = half_plane_pixels(5.0), (SIDE, SIDE, SIDE)
    sums = torch.zeros(cube, dtype=values.dtype), torch.zeros(cube)
    flat = torch.zeros(SIDE, SIDE, SIDE - 1, dtype=values.dtype), sums[1]
    for wrong in (
        (sums, values[:, 1:], weights, rotation, pixels),
        (sums, values, weights[1:], rotation, pixels),
        (sums, values, weights, rotation[1:], pixels),
        (flat, values, weights, rotation, pixels),
    ):
        with pytest.raises(ShapeError, match="must be"):
            add_slices(*wrong)


def test_what_was_compiled_need_not_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no folder can be written to, each process compiles for itself."""
    from resmfn.physics.compiled import kernels

    def refusing(function, cache: bool = False, **_):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return function

    monkeypatch.setattr(kernels.numba, "njit", refusing)
    assert kernels._compiled(scene) is scene
