"""Values that are hardly ever right are named with the likely cause; none of them is said of a plain file."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from resmfn.core import InputError
from resmfn.data import Table, read_particles, write_star

N = 24
OPTICS = {
    "rlnOpticsGroup": "1", "rlnVoltage": "300", "rlnSphericalAberration": "2.7", "rlnAmplitudeContrast": "0.1",
    "rlnImagePixelSize": "2.0", "rlnImageSize": "24", "rlnImageDimensionality": "2",
}  # fmt: skip
PARTICLE = {
    "rlnImageName": lambda i: f"{i + 1:06d}@p.mrcs", "rlnOpticsGroup": "1",
    "rlnDefocusU": lambda i: f"{17000 + 37 * i}",
    "rlnDefocusV": lambda i: f"{16500 + 31 * i}", "rlnDefocusAngle": "30", "rlnPhaseShift": "0",
    "rlnAngleRot": lambda i: f"{15 * i - 180}", "rlnAngleTilt": lambda i: f"{7 * i}", "rlnAnglePsi": "12",
}  # fmt: skip


def write_stack(path: Path, images: np.ndarray, columns_along: int = 1) -> None:
    """Write a stack whose header says along which axis its columns run."""
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(images.astype(np.float32))
        file.set_image_stack()
        file.voxel_size = 2.0
        file.header.mapc, file.header.mapr = columns_along, 3 - columns_along


def notes(folder: Path, optics: dict = {}, *, with_images: bool = False, **particle: object) -> list[str]:  # noqa: B006
    """Return what is said of a file with some values replaced."""
    columns = PARTICLE | particle
    table = {name: [cell(i) if callable(cell) else cell for i in range(N)] for name, cell in columns.items()}
    one_row = {name: [cell] for name, cell in (OPTICS | optics).items()}
    write_star(folder / "p.star", {"optics": Table(one_row), "particles": Table(table)})
    remarks = read_particles(folder / "p.star", with_images=with_images).remarks
    return [*remarks.notes, *remarks.refusals]


def test_nothing_is_said_of_a_plain_file(tmp_path) -> None:
    assert notes(tmp_path, rlnRandomSubset=lambda i: str(1 + i % 2), rlnClassNumber="1") == []
    assert notes(tmp_path, {"rlnSphericalAberration": "0.01"}, rlnPhaseShift="90") == []


@pytest.mark.parametrize(
    ("optics", "particle", "says"),
    [
        ({}, {"rlnDefocusU": "-17000", "rlnDefocusV": "-16000"}, "24 of 24 images are overfocused"),
        ({}, {"rlnDefocusU": "1700", "rlnDefocusV": "1600"}, "the defocus is 1650 Å (median)"),
        ({}, {"rlnDefocusU": "0", "rlnDefocusV": "0"}, "the defocus is 0 Å (median)"),
        ({}, {"rlnDefocusU": "1700", "rlnDefocusV": "17000"}, "differ by half of their mean or more in 24 images"),
        ({"rlnSphericalAberration": "0.0027"}, {}, "0.0027 mm: m?"),
        ({"rlnAmplitudeContrast": "1"}, {}, "rlnAmplitudeContrast reaches 1: percent?"),
        ({}, {"rlnPhaseShift": "1.5708"}, "rlnPhaseShift is at most 1.57 degrees: radians?"),
        (
            {},
            {"rlnAngleRot": lambda i: f"{0.2 * i:.3f}", "rlnAngleTilt": "1.2", "rlnAnglePsi": "-3"},
            "all angles of the poses are at most 4.6 degrees: radians?",
        ),
        ({}, {"rlnClassNumber": lambda i: str(1 + i % 3)}, "3 classes (rlnClassNumber): all are used"),
        ({}, {"rlnRandomSubset": lambda i: "2" if i == 0 else "1"}, "uneven half sets: rlnRandomSubset has 4 %"),
        (
            {"rlnCtfDataAreCtfPremultiplied": "1", "rlnCtfDataArePhaseFlipped": "1"},
            {},
            "are both 1, and images may have been multiplied by the CTF or by its absolute value",
        ),
    ],
)
def test_what_is_hardly_ever_right_is_named(tmp_path, optics, particle, says) -> None:
    found = notes(tmp_path, optics, **particle)
    assert len(found) == 1
    assert says in found[0]


@pytest.mark.parametrize(
    ("optics", "particle", "says"),
    [
        ({"rlnImageSize": "24.5"}, {}, "rlnImageSize must be a number of pixels, got 24.5"),
        ({}, {"rlnDefocusU": "17_000"}, "rlnDefocusU must be a finite number, got '17_000'"),
        ({}, {"rlnDefocusU": "١٧٠٠٠"}, "rlnDefocusU must be a finite number"),
    ],
)
def test_what_only_python_takes_for_a_number_is_refused(tmp_path, optics, particle, says) -> None:
    with pytest.raises(InputError, match="must be a") as refused:
        notes(tmp_path, optics, **particle)
    assert says in str(refused.value)


def test_what_is_no_file_is_named_for_what_it_is(tmp_path) -> None:
    (tmp_path / "p.star").symlink_to("gone.star")
    with pytest.raises(InputError, match=r"is a link to gone.star, which is not there"):
        read_particles(tmp_path / "p.star")
    with pytest.raises(InputError, match="is no ordinary file"):
        read_particles("/dev/null")


def test_a_stack_that_is_a_copy_of_another_is_named_and_two_that_begin_with_a_margin_are_not(tmp_path) -> None:
    images = np.random.default_rng(0).normal(size=(N // 2, 24, 24))
    write_stack(tmp_path / "a.mrcs", images)
    write_stack(tmp_path / "b.mrcs", images)
    names = {"rlnImageName": lambda i: f"{i // 2 + 1:06d}@{'ab'[i % 2]}.mrcs"}
    (said,) = notes(tmp_path, with_images=True, **names)
    assert f"{tmp_path / 'a.mrcs'} and {tmp_path / 'b.mrcs'} begin with the same numbers" in said
    for name, shown in (("a", images), ("b", images[::-1])):
        shown = shown.copy()
        shown[:, :4] = 0.0
        write_stack(tmp_path / f"{name}.mrcs", shown)
    assert notes(tmp_path, with_images=True, **names) == []


def test_a_stack_whose_header_turns_the_axes_is_named(tmp_path) -> None:
    write_stack(tmp_path / "p.mrcs", np.random.default_rng(0).normal(size=(N, 24, 24)), columns_along=2)
    (said,) = notes(tmp_path, with_images=True)
    assert "columns do not run along x" in said and "hand" in said
