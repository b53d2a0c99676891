"""Operators keep the laws, alone and put together, and are what closed forms say."""

import math

import pytest
import torch

from inverse.operator_laws import check_laws, check_precision_follows, dense
from resmfn.core import ShapeError, make_generator
from resmfn.inverse import (
    Convolution,
    FourierSampling,
    FourierSlices,
    LinearOperator,
    Multiplication,
    ParallelBeam,
    Space,
    ctf_operator,
)
from resmfn.physics import GaussianBlobs, Optics
from resmfn.rotations import random_rotations

DOUBLE = torch.float64
pytestmark = pytest.mark.usefixtures("one_torch_thread")


def half_chosen(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=make_generator(5)) < 0.5


def random(*shape: int, seed: int = 6, dtype: torch.dtype = DOUBLE) -> torch.Tensor:
    return torch.randn(shape, generator=make_generator(seed), dtype=dtype)


def slices(box_size: int = 8, n: int = 3) -> FourierSlices:
    return FourierSlices(box_size, random_rotations(n, generator=make_generator(7), dtype=DOUBLE))


def ctf_of_slices() -> LinearOperator:
    operator = slices()
    return ctf_operator(Optics.uniform(3, dtype=DOUBLE), operator.pixels, 3.0, 8) @ operator


OPERATORS = {
    "mask": lambda: Multiplication(half_chosen(5, 6)),
    "complex factor": lambda: Multiplication(random(6, dtype=torch.complex128), Space((5, 6))),
    "convolution": lambda: Convolution.with_kernel(random(6, 5)),
    "convolution in 3-D": lambda: Convolution.with_kernel(random(3, 4, 5)),
    "any transfer function": lambda: Convolution(random(5, 6, dtype=torch.complex128)),
    "Fourier samples": lambda: FourierSampling(half_chosen(6, 7)),
    "Fourier samples of a complex field": lambda: FourierSampling(half_chosen(6, 7), is_complex=True),
    "coil times Fourier samples": lambda: (
        FourierSampling(half_chosen(6, 6), is_complex=True) @ Multiplication(random(6, 6, dtype=torch.complex128))
    ),
    "parallel beam": lambda: ParallelBeam(9, torch.linspace(0, math.pi, 8, dtype=DOUBLE), 11),
    "parallel beam, even": lambda: ParallelBeam(8, torch.tensor([0.1, 0.8, 1.6, 2.9])),
    "slices": slices,
    "CTF of slices": ctf_of_slices,
    "real in a complex composition": lambda: (
        Multiplication(random(4, 4), Space((4, 4), is_complex=True)) @ Multiplication(random(4, 4, seed=8))
    ),
    "sum": lambda: (
        Multiplication(random(4, 4)) + Convolution.with_kernel(random(4, 4, seed=9)) @ Multiplication(half_chosen(4, 4))
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_keeps_the_laws(name: str, generator: torch.Generator) -> None:
    check_laws(OPERATORS[name](), generator)


@pytest.mark.parametrize("name", OPERATORS)
def test_precision_follows_the_input(name: str, generator: torch.Generator) -> None:
    check_precision_follows(OPERATORS[name](), generator)


def test_an_adjoint_that_is_wrong_is_found(generator: torch.Generator) -> None:
    """The laws can fail: a rotation whose adjoint turns the same way."""

    class Wrong(Multiplication):
        def _adjoint(self, data: torch.Tensor) -> torch.Tensor:
            return data * self.factor

    with pytest.raises(AssertionError):
        check_laws(Wrong(torch.tensor([1j, 1.0]), Space((2,), is_complex=True)), generator)


@pytest.mark.parametrize("name", ["mask", "convolution", "parallel beam", "Fourier samples", "CTF of slices"])
def test_the_norm_is_the_largest_singular_value(name: str, generator: torch.Generator) -> None:
    operator = OPERATORS[name]()
    expected = float(torch.linalg.matrix_norm(dense(operator), 2))
    assert operator.norm(generator=generator, iterations=200) == pytest.approx(expected, rel=0.01)


def test_an_operator_that_gives_nothing_has_norm_0(generator: torch.Generator) -> None:
    assert Multiplication(torch.zeros(3)).norm(generator=generator) == 0


def test_convolving_with_a_shifted_point_moves_the_field(generator: torch.Generator) -> None:
    kernel = torch.zeros(6, 8, dtype=DOUBLE)
    kernel[6 // 2 + 1, 8 // 2 - 2] = 1
    field = torch.randn(6, 8, generator=generator, dtype=DOUBLE)
    torch.testing.assert_close(Convolution.with_kernel(kernel)(field), field.roll((1, -2), (0, 1)))


def test_all_fourier_samples_keep_the_length_of_a_field(generator: torch.Generator) -> None:
    operator = FourierSampling(torch.ones(6, 7, dtype=torch.bool))
    field = torch.randn(6, 7, generator=generator, dtype=DOUBLE)
    torch.testing.assert_close(operator(field).abs().square().sum(), field.square().sum())
    torch.testing.assert_close(operator.adjoint(operator(field)), field)


@pytest.mark.parametrize("size", [40, 41])
def test_parallel_beams_are_the_line_integrals_of_gaussians(size: int) -> None:
    """Against closed forms, at all angles, off the origin; offsets and turns have their signs."""
    centers = torch.tensor([[6.0, -3.0], [-5.0, 7.0], [0.0, 0.0]], dtype=DOUBLE)  # x, y
    widths = torch.tensor([2.0, 2.5, 3.0], dtype=DOUBLE)
    axis = torch.arange(size, dtype=DOUBLE) - size // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    field = sum((-((x - a) ** 2 + (y - b) ** 2) / (2 * w**2)).exp() for (a, b), w in zip(centers, widths, strict=True))
    angles = torch.linspace(0, math.pi, 19, dtype=DOUBLE)
    seen = angles.cos()[:, None] * centers[:, 0] + angles.sin()[:, None] * centers[:, 1]
    offset = torch.arange(size + 4, dtype=DOUBLE) - (size + 4) // 2
    profile = (-((offset[None, :, None] - seen[:, None]) ** 2) / (2 * widths**2)).exp()
    expected = (profile * widths * math.sqrt(2 * math.pi)).sum(dim=-1)
    found = ParallelBeam(size, angles, size + 4)(field)
    assert float((found - expected).norm() / expected.norm()) < 0.01


def test_slices_are_the_closed_form_of_blobs(generator: torch.Generator) -> None:
    blobs = GaussianBlobs.random(4, radius=3.0, width=1.6, generator=generator, dtype=DOUBLE)
    rotation = random_rotations(6, generator=generator, dtype=DOUBLE)
    operator = FourierSlices(24, rotation, radius_max=8)
    expected = blobs.transform(rotation, operator.pixels, 24)
    assert float((operator(blobs.volume(24)) - expected).norm() / expected.norm()) < 0.02


def test_spaces_that_do_not_fit_are_refused() -> None:
    mask = Multiplication(torch.ones(4, 4))
    with pytest.raises(ShapeError, match=r"the field must be real \(4, 4\), got real \(4, 5\)"):
        mask(torch.ones(4, 5))
    with pytest.raises(ShapeError, match=r"must be real \(4, 4\), got complex \(4, 4\)"):
        mask.adjoint(torch.ones(4, 4, dtype=torch.complex64))
    with pytest.raises(ShapeError, match=r"takes real \(4, 4\), but the inner one gives complex"):
        mask @ FourierSampling(torch.ones(4, 4, dtype=torch.bool))
    with pytest.raises(ShapeError, match="must have the same spaces"):
        mask + ParallelBeam(4, torch.zeros(1))
    with pytest.raises(ShapeError, match="must broadcast to the domain"):
        Multiplication(torch.ones(2, 4), Space((4,)))
