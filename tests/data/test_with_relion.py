"""Files that RELION has just written are read here; files written here are read by RELION."""

import re
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from resmfn.data import (
    ImageStackWriter,
    read_map,
    read_particles,
    read_stack_images,
    write_fsc_xml,
    write_map,
    write_particles,
)
from resmfn.fourier.masks import soft_sphere
from resmfn.physics.phantoms.blobs import GaussianBlobs
from resmfn.physics.projection import FourierSliceProjector
from resmfn.rotations import random_rotations

pytestmark = pytest.mark.relion

N, BOX, PIXEL = 300, 32, 2.0
HEADER = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
_rlnImageDimensionality #8
1 opticsGroup1 300.0 2.7 0.1 2.0 32 2
2 opticsGroup2 200.0 1.4 0.07 2.0 32 2

# version 30001

data_particles

loop_
_rlnImageName #1
_rlnMicrographName #2
_rlnOpticsGroup #3
_rlnDefocusU #4
_rlnDefocusV #5
_rlnDefocusAngle #6
"""


def run(folder, *command):
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout + process.stderr


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Return a folder with noise-free particles without CTF in their images, in two optics groups, and their map."""
    folder = tmp_path_factory.mktemp("relion")
    generator = torch.Generator().manual_seed(5)
    volume = GaussianBlobs.random(12, radius=8, width=2.0, generator=generator).volume(BOX)
    rotation = random_rotations(N, generator=generator)
    images = FourierSliceProjector(BOX)(volume, rotation)
    with ImageStackWriter(folder / "p.mrcs", N, BOX, PIXEL) as stack:
        stack.write(images)
    rows = [f"{i + 1:06d}@p.mrcs m{i % 7}.mrc {1 + i % 2} {15000 + i} {14000 + i} {i % 180}" for i in range(N)]
    (folder / "bare.star").write_text(HEADER + "\n".join(rows) + "\n")
    particles = read_particles(folder / "bare.star").with_poses(rotation, torch.zeros(N, 2))
    write_particles(folder / "p.star", particles)
    write_map(folder / "map.mrc", volume, PIXEL)
    return folder, particles, volume


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    torch.testing.assert_close(ours.rotations, theirs.rotations, atol=1e-5, rtol=0)
    assert ours.pixel_sizes.tolist() == pytest.approx(theirs.pixel_sizes.tolist())
    for name in ("defocus_u", "defocus_v", "defocus_angle", "voltage", "spherical_aberration", "amplitude_contrast"):
        torch.testing.assert_close(getattr(ours.optics, name), getattr(theirs.optics, name), rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("by_way_of_cs", [False, True])
def test_star_handler_reads_ours_and_we_read_its(relion, scene, by_way_of_cs):
    folder, particles, _ = scene
    source = "p.star"
    if by_way_of_cs:  # has columns that RELION does not know: it must keep them
        write_particles(folder / "p.cs", particles)
        write_particles(folder / "from_cs.star", read_particles(folder / "p.cs"))
        source = "from_cs.star"
    select = ("--select", "rlnDefocusU", "--minval", "0", "--maxval", "99999")
    run(folder, relion / "relion_star_handler", "--i", source, "--o", "handled.star", *select)
    handled = read_particles(folder / "handled.star")
    assert_same(particles, handled)
    assert set(read_particles(folder / source).table.columns) == set(handled.table.columns)
    assert torch.equal(handled.read_images(slice(0, 9)), particles.read_images(slice(0, 9)))


def test_we_read_stacks_and_stars_that_relion_writes(relion, scene):
    folder, particles, _ = scene
    run(folder, relion / "relion_stack_create", "--i", "p.star", "--o", "created")
    created = read_particles(folder / "created.star")
    assert_same(particles, created)
    assert created.images.stacks[0].name == "created.mrcs"
    torch.testing.assert_close(created.read_images(slice(None)), particles.read_images(slice(None)))


def test_image_handler_reads_our_map_and_stack(relion, scene):
    folder, _, volume = scene
    said = run(folder, relion / "relion_image_handler", "--i", "map.mrc", "--stats")
    assert re.search(rf"= {BOX} x {BOX} x {BOX} x 1", said)
    found = {
        name: float(value) for name, value in re.findall(r"(avg|stddev|minval|maxval|angpix) *= *([-\d.e]+)", said)
    }
    expected = [volume.mean(), volume.std(correction=0), volume.min(), volume.max(), PIXEL]
    assert list(found.values()) == pytest.approx([float(value) for value in expected], rel=1e-3)
    run(folder, relion / "relion_image_handler", "--i", "map.mrc", "--o", "half.mrc", "--rescale_angpix", "4.0")
    half = read_map(folder / "half.mrc")
    assert half.pixel_size == pytest.approx(4.0)
    assert half.box_size == BOX // 2


def test_reconstruct_takes_our_particles(relion, scene):
    folder, _, volume = scene
    run(folder, relion / "relion_reconstruct", "--i", "p.star", "--o", "rebuilt.mrc", "--maxres", "8")
    rebuilt = read_map(folder / "rebuilt.mrc")
    assert rebuilt.pixel_size == pytest.approx(PIXEL)
    correlation = np.corrcoef(rebuilt.data.flatten(), volume.flatten())[0, 1]
    assert correlation > 0.95


def test_we_read_what_relion_projects(relion, scene):
    folder, particles, _ = scene
    run(folder, relion / "relion_project", "--i", "map.mrc", "--ang", "p.star", "--o", "projected", "--angpix", "2")
    projected = read_particles(folder / "projected.star")
    assert_same(particles, projected)
    ours, theirs = particles.read_images(slice(0, 50)), read_stack_images(folder / "projected.mrcs", np.arange(50))
    correlations = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(ours.numpy(), theirs, strict=True)]
    assert min(correlations) > 0.98


def test_our_fsc_is_in_the_form_of_relions(relion, scene, generator):
    folder, _, volume = scene
    (folder / "post").mkdir()
    write_map(folder / "mask.mrc", soft_sphere(BOX, 10, 3), PIXEL)
    for half in (1, 2):
        noisy = volume + 0.05 * torch.randn(volume.shape, generator=generator)
        write_map(folder / f"half{half}_class001_unfil.mrc", noisy, PIXEL)
    names = ("--i", "half1_class001_unfil.mrc", "--i2", "half2_class001_unfil.mrc", "--o", "post/post")
    run(folder, relion / "relion_postprocess", *names, "--angpix", "2", "--mask", "mask.mrc")
    theirs = ElementTree.parse(folder / "post" / "post_fsc.xml").getroot()
    write_fsc_xml(folder / "ours.xml", [0.0, 0.1], [1.0, 0.5], "RELION masked-corrected FSC")
    ours = ElementTree.parse(folder / "ours.xml").getroot()
    assert (ours.tag, set(ours.attrib)) == (theirs.tag, set(theirs.attrib))
    assert {name: ours.attrib[name] for name in ("xaxis", "yaxis")} == {
        name: theirs.attrib[name] for name in ("xaxis", "yaxis")
    }
    assert [child.tag for child in ours[0]] == [child.tag for child in theirs[0]]
