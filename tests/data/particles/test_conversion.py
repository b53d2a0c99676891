"""Particle sets from format to format, and what is said of them before a run."""

from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from resmfn.core import InputError
from resmfn.data import (
    ImageStackWriter,
    convert_particles,
    inspect_particles,
    read_particles,
    read_star,
    write_fsc_xml,
    write_particles,
)
from resmfn.data.particles.published import read_published
from resmfn.rotations import random_rotations


@pytest.fixture
def posed(particle_file, generator, tmp_path):
    """Return a file with poses, without shifts."""
    particles = read_particles(particle_file())
    rotations = random_rotations(4, generator=generator)
    write_particles(tmp_path / "posed.star", particles.with_poses(rotations, torch.zeros(4, 2)))
    return tmp_path / "posed.star"


def test_every_format_leads_to_every_other(posed, tmp_path):
    original = read_particles(posed)
    convert_particles(posed, tmp_path / "b.cs")
    convert_particles(tmp_path / "b.cs", tmp_path / "folder")
    convert_particles(tmp_path / "folder", tmp_path / "d.star", pixel_size=1.5)
    convert_particles(tmp_path / "d.star", tmp_path / "e.cs")
    convert_particles(tmp_path / "e.cs", tmp_path / "f.star")
    for name in ("b.cs", "folder", "d.star", "e.cs", "f.star"):
        particles = read_particles(tmp_path / name, pixel_size=1.5)
        torch.testing.assert_close(particles.rotations, original.rotations, atol=2e-6, rtol=0)
        assert torch.equal(particles.read_images(slice(None)), original.read_images(slice(None)))
        for field in ("defocus_u", "defocus_v", "defocus_angle", "voltage", "spherical_aberration"):
            torch.testing.assert_close(getattr(particles.optics, field), getattr(original.optics, field))


def test_columns_and_rows_keep_their_order(posed, tmp_path):
    convert_particles(posed, tmp_path / "b.star")
    before, after = read_star(posed), read_star(tmp_path / "b.star")
    assert {name: list(table.columns) for name, table in before.items()} == {
        name: list(table.columns) for name, table in after.items()
    }
    assert before["particles"].columns == after["particles"].columns


def test_the_published_layout_holds_images_poses_and_ctf(posed, tmp_path):
    convert_particles(posed, tmp_path / "folder")
    data = read_published(tmp_path / "folder")
    assert np.array_equal(data.images, read_particles(posed).read_images(slice(None)))
    torch.testing.assert_close(data.rotations, read_particles(posed).rotations, atol=2e-6, rtol=0)


def test_the_published_layout_has_no_place_for_shifts(posed, tmp_path):
    particles = read_particles(posed)
    write_particles(tmp_path / "s.star", particles.with_poses(particles.rotations, torch.ones(4, 2)))
    with pytest.raises(InputError, match="cannot hold shifts"):
        convert_particles(tmp_path / "s.star", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_stack_alone_is_a_particle_set(posed, tmp_path):
    particles = read_particles(tmp_path / "a.mrcs")
    assert (len(particles), particles.pixel_size, particles.optics) == (3, 1.5, None)
    assert particles.table["rlnImageName"][1] == "000002@a.mrcs"


def test_optics_groups_may_differ_in_pixel_size_until_one_is_asked_for(particle_file, tmp_path):
    star = particle_file(replacing={" 0.070 1.500000": " 0.070 1.600000"})
    particles = read_particles(star, with_images=False)
    assert particles.pixel_sizes.tolist() == [1.5, 1.6, 1.5, 1.6]
    with pytest.raises(InputError, match=r"the same pixel size, but there are 1\.5, 1\.6; split the file, or rescale"):
        _ = particles.pixel_size
    found = inspect_particles(particles)
    assert found.pixel_sizes == [1.5, 1.6]
    assert (found.working_box, found.would_fail) == ((14, 1.6), [])  # 24 Å of the finer group hold 15 of the others


def test_what_a_set_is_said_to_be(posed):
    found = inspect_particles(read_particles(posed))
    assert (found.n_images, found.n_stacks, found.box_sizes, found.pixel_sizes) == (4, 2, [16], [1.5])
    assert found.defocus_range == (9500.375, 11150.375)
    assert [group["n_images"] for group in found.optics_groups] == [2, 2]
    assert (found.has_poses, found.has_shifts, found.n_bad, found.would_fail) == (True, False, 0, [])
    assert found.working_box == (16, 1.5)


def test_the_working_box_is_the_one_that_is_asked_for(posed):
    particles = read_particles(posed)
    assert inspect_particles(particles, box_size=8).working_box == (8, 3.0)
    refused = inspect_particles(particles, box_size=20)
    assert refused.working_box is None
    assert "--box-size must be at most the images' box of 16 pixels, got 20" in refused.would_fail[0]


def test_dead_images_are_counted_and_named(particle_file, tmp_path):
    star = particle_file()
    images = torch.randn(3, 16, 16)
    images[1], images[2, 3, 4] = 0.5, float("nan")
    with ImageStackWriter(tmp_path / "a.mrcs", 3, 16, 1.5) as stack:
        stack.write(images.nan_to_num(1e30))
    raw = bytearray((tmp_path / "a.mrcs").read_bytes())
    raw[1024:] = images.numpy().tobytes()
    (tmp_path / "a.mrcs").write_bytes(raw)
    found = inspect_particles(read_particles(star))
    faults = [(bad["row"], bad["fault"]) for bad in found.bad_images]
    assert faults == [(2, "is constant"), (4, "holds NaN or infinite values")]
    assert "row 2: the image is constant (and 1 others of those examined)" in found.would_fail[0]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_sign_of_the_molecule_is_told_from_the_images(tmp_path, generator, sign):
    axis = torch.arange(32) - 16
    blob = torch.exp(-(axis[:, None] ** 2 + axis**2) / 50.0)
    with ImageStackWriter(tmp_path / "x.mrcs", 60, 32, 2.0) as stack:
        stack.write(sign * blob + 2 * torch.randn(60, 32, 32, generator=generator))
    found = inspect_particles(read_particles(tmp_path / "x.mrcs"))
    assert found.measured_sign == sign


def test_noise_alone_tells_no_sign(tmp_path, generator):
    with ImageStackWriter(tmp_path / "x.mrcs", 60, 32, 2.0) as stack:
        stack.write(torch.randn(60, 32, 32, generator=generator))
    assert inspect_particles(read_particles(tmp_path / "x.mrcs")).measured_sign is None


def test_fsc_xml_is_what_emdb_asks_for(tmp_path):
    write_fsc_xml(tmp_path / "fsc.xml", [0.0, 0.1], [1.0, 0.25], 'half maps "1" & 2')
    root = ElementTree.parse(tmp_path / "fsc.xml").getroot()
    assert root.tag == "fsc"
    assert root.attrib["title"] == 'half maps "1" & 2'
    points = [(float(c.find("x").text), float(c.find("y").text)) for c in root.findall("coordinate")]
    assert points == [(0.0, 1.0), (0.1, 0.25)]


@pytest.mark.parametrize("letter", ["\ud800", "\udcff", "\0", "\x1b", "\ufffe", "\n"])
def test_fsc_xml_can_be_read_again_whatever_its_title(tmp_path, letter):
    """Of what XML cannot hold, or not in an attribute, a space is left."""
    write_fsc_xml(tmp_path / "fsc.xml", [0.0], [1.0], f"map{letter}1, 3 Å")
    assert ElementTree.parse(tmp_path / "fsc.xml").getroot().attrib["title"] == "map 1, 3 Å"
