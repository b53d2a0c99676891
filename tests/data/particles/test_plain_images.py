"""Recorded images read as plain ones: a set with aberrations, magnification and treatment against the set without."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from resmfn.core import InputError
from resmfn.data import ImageStackWriter, ParticleSet, convert_particles, read_particles, write_particles
from resmfn.data.particles.common_frame import CommonFrame
from resmfn.physics import FourierSliceProjector, GaussianBlobs, ImageFormation, Optics, compute_ctf
from resmfn.rotations import random_rotations

BOX, PIXEL, N = 32, 2.0, 6
pytestmark = pytest.mark.usefixtures("one_torch_thread")
TERMS = {
    "tilt": {"rlnBeamTiltX": "9", "rlnBeamTiltY": "-6"},
    "odd": {"rlnOddZernike": "[0.3,0.2,-900,0,0,700]"},
    "magnification": {"rlnMagMat00": "1.03", "rlnMagMat01": "0.02", "rlnMagMat10": "-0.01", "rlnMagMat11": "0.97"},
    "premultiplied": {"rlnCtfDataAreCtfPremultiplied": "1"},
    "flipped": {"rlnCtfDataArePhaseFlipped": "1"},
    "even": {"rlnEvenZernike": "[0,0,0,12,0,0,0,0,800]"},
    "scale": {"rlnCtfScalefactor": "0.7"},
}
TERMS["all"] = {name: value for columns in TERMS.values() for name, value in columns.items() if "Flipped" not in name}
Written = Callable[..., ParticleSet]


@pytest.fixture
def scene(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    volume = GaussianBlobs.random(12, radius=6, width=1.5, generator=generator).volume(BOX)
    return volume, random_rotations(N, generator=generator), 2 * torch.randn(N, 2, generator=generator)


@pytest.fixture
def written(tmp_path: Path, scene: tuple[torch.Tensor, ...]) -> Written:
    """Return a function that writes a set with further columns of data_optics, its images as recorded."""

    def write(name: str, columns: dict[str, str]) -> ParticleSet:
        optics = {"rlnOpticsGroup": "1", "rlnVoltage": "300", "rlnSphericalAberration": "2.7"} | {
            "rlnAmplitudeContrast": "0.1",
            "rlnImagePixelSize": str(PIXEL),
            "rlnImageSize": str(BOX),
        }
        optics |= columns
        text = "data_optics\n\nloop_\n" + "".join(f"_{column}\n" for column in optics) + " ".join(optics.values())
        text += "\n\ndata_particles\n\nloop_\n_rlnImageName\n_rlnOpticsGroup\n"
        text += "_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n"
        text += "".join(f"{i + 1}@{name}.mrcs 1 {8000 + 300 * i} {7600 + 300 * i} {20 * i}\n" for i in range(N))
        star = tmp_path / f"{name}.star"
        star.write_text(text)
        bare = read_particles(star, with_images=False).with_poses(scene[1], scene[2])
        assert bare.optics is not None
        with ImageStackWriter(tmp_path / f"{name}.mrcs", N, BOX, PIXEL) as stack:
            stack.write(images_of(scene, bare.optics))
        write_particles(star, bare)
        return read_particles(star)

    return write


def images_of(scene: tuple[torch.Tensor, ...], optics: Optics, shift: torch.Tensor | None = None) -> torch.Tensor:
    form = ImageFormation(FourierSliceProjector(BOX, padding=3), PIXEL)
    return form(scene[0], scene[1], scene[2] if shift is None else shift, optics)


@pytest.mark.parametrize("term", TERMS)
def test_images_are_read_as_those_of_the_undistorted_optics(
    written: Written, scene: tuple[torch.Tensor, ...], term: str
) -> None:
    stored = written("recorded", TERMS[term])
    assert len(stored.remarks.applied) >= 1
    plain = stored.in_common_frame()
    assert plain.optics is not None
    _, shift = plain.require_poses()
    expected = images_of(scene, plain.optics, shift)
    found = plain.read_images(torch.arange(N))
    assert torch.nn.functional.cosine_similarity(found.flatten(1), expected.flatten(1)).min() > 0.995
    assert float((found * expected).sum() / expected.square().sum()) == pytest.approx(1, abs=0.01)
    assert torch.equal(stored.read_images(slice(0, 2)), stored.read_images(torch.arange(2)))  # as stored, still
    assert (plain.recorded is None) == (term in ("even", "scale", "magnification"))


def test_images_without_the_columns_would_be_others(written: Written, scene: tuple[torch.Tensor, ...]) -> None:
    plain = written("plain", {}).in_common_frame()
    assert plain.recorded is None
    for term in TERMS:
        if term != "scale":
            other = written("recorded", TERMS[term]).read_images(slice(None)).flatten(1)
            like = torch.nn.functional.cosine_similarity(other, plain.read_images(slice(None)).flatten(1))
            assert like.min() < (0.9998 if term == "even" else 0.9945), term  # even ones change fine detail alone


def test_images_of_another_magnification_are_read_as_they_are_stored(written: Written) -> None:
    """Nothing is resampled: the optics say where in the map a pixel lies. Shifts are those of the file."""
    stored = written("recorded", TERMS["magnification"])
    plain = stored.in_common_frame()
    assert plain.optics is stored.optics
    assert torch.equal(plain.read_images(slice(None)), stored.read_images(slice(None)))
    assert torch.equal(plain.require_poses()[1], stored.require_poses()[1])
    both = written("both", TERMS["magnification"] | TERMS["tilt"]).in_common_frame()
    assert both.optics is not None
    assert both.optics.magnification is not None
    assert both.optics.odd_aberration is None


def test_groups_of_other_boxes_are_made_plain_before_they_are_cropped(tmp_path: Path, written: Written) -> None:
    one = written("recorded", TERMS["tilt"] | TERMS["premultiplied"]).in_common_frame()
    images = one.read_images(slice(None))
    cropped = replace(one, frame=CommonFrame(BOX - 8, PIXEL)).read_images(torch.tensor([4, 1]))
    torch.testing.assert_close(cropped, images[[4, 1], 4:-4, 4:-4], atol=1e-3, rtol=1e-3)


def test_noise_of_premultiplied_images_is_white_again(written: Written, tmp_path: Path) -> None:
    """C times white noise is divided into white noise, but below the floor."""
    stored = written("recorded", TERMS["premultiplied"])
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(N, BOX, BOX, generator=generator)
    k = torch.fft.fftfreq(BOX, d=PIXEL), torch.fft.rfftfreq(BOX, d=PIXEL)
    frequencies = torch.stack(torch.meshgrid(k[1], k[0], indexing="xy"), dim=-1)
    assert stored.optics is not None
    colored = torch.fft.irfft2(torch.fft.rfft2(noise) * compute_ctf(stored.optics, frequencies), s=(BOX, BOX))
    with ImageStackWriter(tmp_path / "recorded.mrcs", N, BOX, PIXEL) as stack:
        stack.write(colored)
    found = stored.in_common_frame().read_images(slice(None))
    assert colored.var() < 0.6
    assert found.var() == pytest.approx(1, abs=0.05)
    assert torch.nn.functional.cosine_similarity(found.flatten(1), noise.flatten(1)).min() > 0.92


def test_cryosparc_keeps_all_of_it_there_and_back(tmp_path: Path, written: Written) -> None:
    stored = written("recorded", TERMS["all"])
    write_particles(tmp_path / "there.cs", stored)
    there = read_particles(tmp_path / "there.cs")
    write_particles(tmp_path / "back.star", there)
    back = read_particles(tmp_path / "back.star")
    for particles in (there, back):
        for name, value in vars(stored.optics).items():
            torch.testing.assert_close(getattr(particles.optics, name), value, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(particles.require_poses()[1], stored.require_poses()[1], atol=1e-4, rtol=0)
    assert back.optics_table is not None
    assert {"rlnOddZernike", "rlnMagMat00", "rlnBeamTiltX", "rlnCtfDataAreCtfPremultiplied"} <= set(
        back.optics_table.columns
    )


def test_beam_shift_is_taken_from_the_origin_once(tmp_path: Path, written: Written) -> None:
    write_particles(tmp_path / "p.cs", written("recorded", {}))
    particles = read_particles(tmp_path / "p.cs")
    assert particles.records is not None
    particles.records["ctf/shift_A"] = (3.0, -1.0)
    with (tmp_path / "shifted.cs").open("wb") as file:
        np.save(file, particles.records)
    shifted = read_particles(tmp_path / "shifted.cs")
    moved = particles.require_poses()[1] - torch.tensor([3.0, -1.0])
    torch.testing.assert_close(shifted.require_poses()[1], moved, atol=1e-4, rtol=0)
    write_particles(tmp_path / "s.star", shifted)
    write_particles(tmp_path / "again.cs", read_particles(tmp_path / "s.star"))
    torch.testing.assert_close(read_particles(tmp_path / "again.cs").require_poses()[1], moved, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"rlnCtfDataAreCtfCorrected": "1"}, "CTF-corrected"),
        ({"rlnIsFlip": "1"}, "mirrored"),
        ({"rlnCtfBfactor": "-10"}, "must not be negative, got -10"),
    ],
)
def test_what_is_not_modelled_is_refused_where_images_are_used(
    tmp_path: Path, written: Written, columns: dict[str, str], says: str
) -> None:
    stored = written("recorded", columns)
    with pytest.raises(InputError, match=says):
        stored.in_common_frame()
    convert_particles(stored.path, tmp_path / "kept.star")
    assert next(iter(columns)) in (tmp_path / "kept.star").read_text()


@pytest.mark.parametrize("term", ["tilt", "premultiplied", "scale"])
def test_the_published_layout_has_no_place_for_it(tmp_path: Path, written: Written, term: str) -> None:
    stored = written("recorded", TERMS[term])
    centered = stored.with_poses(stored.require_poses()[0], torch.zeros(N, 2))
    write_particles(stored.path, centered)
    with pytest.raises(InputError, match="the published layout cannot hold"):
        convert_particles(stored.path, tmp_path / "folder")


def test_a_pixel_size_given_to_convert_replaces_every_one_in_the_file(tmp_path: Path, written: Written) -> None:
    stored = written("recorded", {"rlnMagnification": "10000", "rlnDetectorPixelSize": "2.0"})
    particles, _ = convert_particles(stored.path, tmp_path / "new.star", pixel_size=1.25)
    assert particles.optics_table is not None
    assert particles.optics_table["rlnDetectorPixelSize"] == ["1.250000"]
    assert read_particles(tmp_path / "new.star", with_images=False).pixel_size == 1.25
