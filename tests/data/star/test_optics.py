"""What columns say of how images came about, and which of two values counts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from resmfn.core import InputError
from resmfn.data import Supplement, read_particles
from resmfn.physics import Optics

IDENTITY = ("rlnMagMat00", "1"), ("rlnMagMat01", "0"), ("rlnMagMat10", "0"), ("rlnMagMat11", "1")
ParticleFile = Callable[..., Path]


def with_optics(**columns: str) -> dict[str, str]:
    """Return replacements that add columns to both rows of data_optics."""
    names = "".join(f"\n_{name}" for name in columns)
    values = " ".join(columns.values())
    return {
        "_rlnImageDimensionality #8": f"_rlnImageDimensionality #8{names}",
        "1.500000 16 2\n2 ": f"1.500000 16 2 {values}\n2 ",
        "200.000 1.400 0.070 1.500000 16 2": f"200.000 1.400 0.070 1.500000 16 2 {values}",
    }


def with_particles(name: str, *cells: str) -> dict[str, str]:
    """Return replacements that add a column to the particles."""
    ends = ("1 m1.mrc\n000002", "2 m1.mrc\n000001", '"m 2.mrc"', "2 m1.mrc\n")
    rows = ("10.0 1 m1.mrc", "20.0 2 m1.mrc", '30.0 1 "m 2.mrc"', "40.0 2 m1.mrc")
    assert len(ends) == len(cells)
    changes = {row: f"{row} {cell}" for row, cell in zip(rows, cells, strict=True)}
    return {"_rlnMicrographName #6": f"_rlnMicrographName #6\n_{name}", **changes}


def optics_of(path: Path, **options: object) -> Optics:
    optics = read_particles(path, with_images=False, dtype=torch.float64, **options).optics
    assert optics is not None
    return optics


def test_terms_that_do_nothing_are_left_out(particle_file: ParticleFile) -> None:
    columns = {"rlnBeamTiltX": "0", "rlnBeamTiltY": "0.0", "rlnOddZernike": "[0,0,0]", "rlnEvenZernike": "[0]"}
    columns |= dict(IDENTITY) | {"rlnCtfDataAreCtfPremultiplied": "0", "rlnCtfDataAreCtfCorrected": "0"}
    particles = read_particles(particle_file(replacing=with_optics(**columns)))
    assert particles.optics is not None
    terms = ("scale", "even_aberration", "odd_aberration", "magnification", "premultiplied", "phase_flipped")
    assert all(getattr(particles.optics, term) is None for term in terms)
    assert particles.remarks.applied == ()
    assert particles.in_common_frame().recorded is None


def test_lists_of_coefficients_are_read_in_any_spelling(particle_file: ParticleFile) -> None:
    columns = with_optics(rlnEvenZernike="[1,2.5,-3e-1]", rlnOddZernike='"[0.5, 1]"')
    optics = optics_of(particle_file(replacing=columns))
    assert optics.even_aberration is not None
    assert optics.even_aberration.tolist() == [[1, 2.5, -0.3]] * 4
    assert optics.odd_aberration is not None
    assert optics.odd_aberration.tolist() == [[0.5, 1.0]] * 4


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"rlnEvenZernike": "[1,x]"}, r"rlnEvenZernike must be a list of numbers as \[0\.1,0\.2\], got '\[1,x\]'"),
        ({"rlnOddZernike": "[nan]"}, "rlnOddZernike must be a list of numbers"),
        (dict(IDENTITY) | {"rlnMagMat00": "0.01"}, "must be near 1, 0, 0, 1, got 0.01, 0, 0, 1; cryoSPARC's"),
        ({"rlnCtfDataAreCtfPremultiplied": "2"}, "must be 0 or 1, got 2"),
        ({"rlnCtfScalefactor": "-1"}, "rlnCtfScalefactor must be positive, got -1"),
    ],
)
def test_what_cannot_be_meant_is_refused(particle_file: ParticleFile, columns: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_particles(particle_file(replacing=with_optics(**columns)))


def test_the_particle_table_wins_for_the_ctf_and_the_optics_table_for_sampling(particle_file: ParticleFile) -> None:
    path = particle_file(replacing=with_particles("rlnVoltage", "80", "90", "100", "110"))
    particles = read_particles(path)
    assert particles.optics is not None
    assert particles.optics.voltage.tolist() == [80, 90, 100, 110]
    assert "rlnVoltage contradicts itself (80 in data_particles, 300.000 in data_optics)" in particles.remarks.notes[0]
    assert particles.remarks.notes[0].endswith("data_particles counts, as in RELION")
    particles = read_particles(particle_file(replacing=with_particles("rlnImagePixelSize", *["3"] * 4)))
    assert particles.pixel_size == 1.5
    assert particles.remarks.notes[0].endswith("data_optics counts, as in RELION")


def test_the_same_value_in_both_tables_is_no_contradiction(particle_file: ParticleFile) -> None:
    path = particle_file(replacing=with_particles("rlnVoltage", "300", "200.0", "300.00001", "200"))
    assert read_particles(path).remarks.notes == ()


def test_two_rows_of_one_optics_group_are_refused(particle_file: ParticleFile) -> None:
    with pytest.raises(InputError, match="data_optics has several rows of optics group 1; renumber them"):
        read_particles(particle_file(replacing={"\n2 opticsGroup2": "\n1.0 opticsGroup2"}))


def test_a_supplement_says_what_the_file_leaves_out_and_is_written(particle_file: ParticleFile) -> None:
    path = particle_file(replacing={"_rlnVoltage #3\n": "_rlnSomethingElse #3\n"})
    with pytest.raises(InputError, match="rlnVoltage is missing; add it to the file, or give --voltage"):
        read_particles(path)
    particles = read_particles(path, supplement=Supplement(voltage=120.0))
    assert particles.optics is not None
    assert particles.optics.voltage.tolist() == [120.0] * 4
    assert particles.optics_table is not None
    assert particles.optics_table["rlnVoltage"] == ["120.000000"] * 2


def test_a_supplement_that_contradicts_the_file_is_refused(particle_file: ParticleFile) -> None:
    with pytest.raises(InputError, match="rlnAmplitudeContrast says 0.1, --amplitude-contrast 0.2"):
        read_particles(particle_file(), supplement=Supplement(amplitude_contrast=0.2))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("voltage", value) for value in (0.0, float("nan"), float("inf"))),
        ("spherical_aberration", float("-inf")),
        *(("amplitude_contrast", value) for value in (1.1, -0.1)),
    ],
)
def test_a_supplement_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} must be"):
        Supplement(**{name: value})


def test_a_supplement_at_the_end_of_its_range_is_taken() -> None:
    assert Supplement(amplitude_contrast=0.0, spherical_aberration=0.0).amplitude_contrast == 0
    assert Supplement(amplitude_contrast=1.0).amplitude_contrast == 1
