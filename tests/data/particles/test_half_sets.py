"""Half sets that a file gives: of images, 1 and 2, neither empty."""

from collections.abc import Callable
from pathlib import Path

import pytest

from resmfn.core import InputError
from resmfn.data import ParticleSet, half_sets, read_particles

Particles = Callable[..., ParticleSet]


@pytest.fixture
def particles(particle_file: Callable[..., Path]) -> Particles:
    """Return a function that reads four rows with these half sets; the last shows the image of the second if asked."""

    def make(*halves: str, with_images: bool = True, last_is_second: bool = False) -> ParticleSet:
        rows = ("10.0 1 m1.mrc", "20.0 2 m1.mrc", '30.0 1 "m 2.mrc"', "40.0 2 m1.mrc")
        changes = {row: f"{row} {half}" for row, half in zip(rows, halves, strict=True)}
        changes |= {"000003@a.mrcs": "000002@a.mrcs"} if last_is_second else {}
        changes["_rlnMicrographName #6"] = "_rlnMicrographName #6\n_rlnRandomSubset"
        return read_particles(particle_file(replacing=changes), with_images=with_images)

    return make


def test_no_column_is_no_half_sets(particle_file: Callable[..., Path]) -> None:
    assert half_sets(read_particles(particle_file())) is None


@pytest.mark.parametrize("with_images", [True, False])
def test_halves_are_read_in_any_spelling(particles: Particles, with_images: bool) -> None:
    found = half_sets(particles("1", '"2"', "2.000000", "1", with_images=with_images))
    assert found is not None
    assert found.tolist() == [1, 2, 2, 1]


@pytest.mark.parametrize("cell", ["0", "3", "nan", "<NA>", "1.5", "inf", "-1"])
def test_anything_else_is_refused_with_its_row(particles: Particles, cell: str) -> None:
    with pytest.raises(InputError, match=r"row 3: rlnRandomSubset must be 1 or 2, got .*; correct it, or remove"):
        half_sets(particles("1", "2", cell, "1"))


@pytest.mark.parametrize("half", ["1", "2"])
def test_one_half_alone_is_refused(particles: Particles, half: str) -> None:
    with pytest.raises(InputError, match=f"must name two half sets, but every row is in half {half}"):
        half_sets(particles(*[half] * 4))


@pytest.mark.parametrize("with_images", [True, False])
def test_an_image_in_both_halves_is_refused(particles: Particles, with_images: bool) -> None:
    with pytest.raises(InputError, match=r"rows 2 and 4 show one image, in halves 2 and 1 by rlnRandomSubset"):
        half_sets(particles("1", "2", "2", "1", with_images=with_images, last_is_second=True))
    assert half_sets(particles("1", "2", "1", "2", with_images=with_images, last_is_second=True)) is not None
