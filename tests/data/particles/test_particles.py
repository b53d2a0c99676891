"""Particle files of both layouts: read right, checked before a pixel is read, written with all they had."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resmfn.core import InputError
from resmfn.data import ImageStackWriter, check_images, read_particles, read_stack_images, read_star, write_particles
from resmfn.data.particles.sources import Supplement
from resmfn.data.star.metadata import pose_columns
from resmfn.rotations import random_rotations
from resmfn.rotations.convert import matrix_from_euler

RELION_30 = """
data_

loop_
_rlnImageName #1
_rlnDefocusU #2
_rlnDefocusV #3
_rlnDefocusAngle #4
_rlnVoltage #5
_rlnSphericalAberration #6
_rlnAmplitudeContrast #7
_rlnMagnification #8
_rlnDetectorPixelSize #9
_rlnAngleRot #10
_rlnAngleTilt #11
_rlnAnglePsi #12
_rlnOriginX #13
_rlnOriginY #14
_rlnPhaseShift #15
_rlnCtfBfactor #16
000001@a.mrcs 10000 9000 10 300 2.7 0.1 33333.333 5 10 20 30 2 -4 90 50
000002@a.mrcs 11000 9100 20 300 2.7 0.1 33333.333 5 40 50 60 1 0.5 90 60
"""


@pytest.fixture
def old_file(tmp_path, write_stack):
    write_stack(tmp_path / "a.mrcs")
    (tmp_path / "old.star").write_text(RELION_30)
    return tmp_path / "old.star"


def test_optics_come_from_the_group_of_each_particle(particle_file):
    particles = read_particles(particle_file())
    assert (len(particles), particles.box_size, particles.pixel_size) == (4, 16, 1.5)
    optics = particles.optics
    assert optics.voltage.tolist() == [300, 200, 300, 200]
    torch.testing.assert_close(optics.spherical_aberration, torch.tensor([2.7, 1.4, 2.7, 1.4]))
    torch.testing.assert_close(optics.amplitude_contrast, torch.tensor([0.1, 0.07, 0.1, 0.07]))
    assert optics.defocus_u.tolist() == [10000.5, 11000.5, 12000.5, 13000.5]
    assert optics.defocus_v.tolist() == [9000.25, 9100.25, 9200.25, 9300.25]
    assert optics.defocus_angle.tolist() == [10, 20, 30, 40]
    assert optics.phase_shift.tolist() == optics.b_factor.tolist() == [0, 0, 0, 0]
    assert particles.rotations is None
    assert particles.shifts is None
    assert particles.optics_table["rlnOpticsGroup"] == ["1", "2"]


def test_group_numbers_may_be_written_as_decimals(particle_file):
    star = particle_file(replacing={"10.0 1 m1": "10.0 1.000 m1", "\n2 optics": "\n2.0 optics"})
    assert read_particles(star).optics.voltage.tolist() == [300, 200, 300, 200]


def test_images_of_several_stacks_come_in_the_order_asked_for(particle_file, tmp_path):
    particles = read_particles(particle_file())
    a = read_stack_images(tmp_path / "a.mrcs", np.arange(3))
    b = read_stack_images(tmp_path / "b.mrcs", np.arange(1))
    by_row = torch.from_numpy(np.stack([a[0], a[1], b[0], a[2]]))
    assert torch.equal(particles.read_images(slice(None)), by_row)
    assert torch.equal(particles.read_images(slice(1, 3)), by_row[1:3])
    assert torch.equal(particles.read_images(torch.tensor([3, 2, 0, 3])), by_row[[3, 2, 0, 3]])
    assert torch.equal(particles.read_images(torch.tensor([True, False, True, False])), by_row[[0, 2]])
    assert particles.read_images(slice(0, 0)).shape == (0, 16, 16)


def test_relion_3_0_keeps_everything_in_one_table(old_file):
    particles = read_particles(old_file)
    assert particles.pixel_size == pytest.approx(1.5, rel=1e-6)  # 5 µm at 33,333 x
    assert particles.optics_table is None
    expected = matrix_from_euler(torch.tensor([[10.0, 20, 30], [40, 50, 60]], dtype=torch.float64))
    torch.testing.assert_close(particles.rotations, expected.to(torch.float32))
    torch.testing.assert_close(particles.shifts, torch.tensor([[3.0, -6.0], [1.5, 0.75]]))  # from pixels
    assert particles.optics.phase_shift.tolist() == [90, 90]
    assert particles.optics.b_factor.tolist() == [50, 60]


def test_double_precision_is_kept_where_it_is_asked_for(old_file):
    particles = read_particles(old_file, dtype=torch.float64)
    for tensor in (particles.rotations, particles.shifts, particles.optics.defocus_u):
        assert tensor.dtype == torch.float64
    expected = matrix_from_euler(torch.tensor([[10.0, 20, 30]], dtype=torch.float64))
    torch.testing.assert_close(particles.rotations[:1], expected, rtol=0, atol=1e-15)


def test_no_defocus_means_no_ctf(old_file):
    old_file.write_text("data_\nloop_\n_rlnImageName\n_rlnPixelSize\n1@a.mrcs 1.5\n")
    assert read_particles(old_file).optics is None


def test_in_plane_angles_alone_are_no_poses(old_file):
    old_file.write_text("data_\nloop_\n_rlnImageName\n_rlnPixelSize\n_rlnAnglePsi\n1@a.mrcs 1.5 20\n")
    particles = read_particles(old_file)
    assert particles.rotations is None
    with pytest.raises(InputError, match=r"poses are needed, but rlnAngleRot, rlnAngleTilt or rlnAnglePsi is missing"):
        particles.require_poses()


def test_poses_without_origins_are_centered(old_file):
    old_file.write_text(RELION_30.replace("rlnOrigin", "myOrigin"))
    rotations, shifts = read_particles(old_file).require_poses()
    assert rotations.shape == (2, 3, 3)
    assert shifts.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("deep", [False, True])
def test_names_start_from_the_file_or_a_folder_above(tmp_path, write_stack, deep):
    (tmp_path / "Refine3D" / "job003").mkdir(parents=True)
    (tmp_path / "Extract").mkdir()
    write_stack(tmp_path / "Extract" / "a.mrcs")
    star = (tmp_path / "Refine3D" / "job003" if deep else tmp_path) / "run_data.star"
    star.write_text("data_\nloop_\n_rlnImageName\n_rlnPixelSize\n000002@Extract/a.mrcs 1.5\n")
    assert len(read_particles(star)) == 1


def test_datadir_is_where_names_start(tmp_path, write_stack):
    (tmp_path / "elsewhere").mkdir()
    images = write_stack(tmp_path / "elsewhere" / "a.mrcs")
    write_stack(tmp_path / "a.mrcs", seed=9)
    star = tmp_path / "x.star"
    star.write_text("data_\nloop_\n_rlnImageName\n_rlnPixelSize\n000002@a.mrcs 1.5\n")
    assert torch.equal(read_particles(star, tmp_path / "elsewhere").read_images(slice(None))[0], images[1])


def test_a_stack_under_several_names_is_one(tmp_path, write_stack):
    write_stack(tmp_path / "a.mrcs")
    (tmp_path / "link.mrcs").symlink_to(tmp_path / "a.mrcs")
    write_stack(tmp_path / "b.mrcs")
    names = ["1@a.mrcs", "2@a.mrcs", "1@./a.mrcs", "1@b.mrcs", "1@link.mrcs", "2@b.mrcs"]
    (tmp_path / "x.star").write_text("data_\nloop_\n_rlnImageName\n" + "\n".join(names) + "\n")
    particles = read_particles(tmp_path / "x.star", pixel_size=1.5)
    assert particles.images.stacks == (tmp_path / "a.mrcs", tmp_path / "b.mrcs")
    row, image_of = particles.distinct_images()
    assert (len(row), image_of.tolist()) == (4, [0, 1, 0, 2, 0, 3])


def test_a_bare_stack_may_be_an_array_or_have_any_side(tmp_path, generator):
    np.save(tmp_path / "x.npy", torch.randn(3, 16, 16, generator=generator).numpy())
    assert (len(found := read_particles(tmp_path / "x.npy", pixel_size=2.0)), found.box_size) == (3, 16)
    for side in (384, 640):  # begin as Python's pickles do
        with ImageStackWriter(tmp_path / f"{side}.mrcs", 2, side, 1.1) as writer:
            writer.write(torch.randn(2, side, side, generator=generator))
        assert (len(found := read_particles(tmp_path / f"{side}.mrcs")), found.box_size) == (2, side)


def test_a_value_of_the_microscope_that_the_file_has_in_single_precision_may_be_given(old_file):
    text = old_file.read_text().replace(" 0.1 ", " 0.100000001 ")
    old_file.write_text(text)
    assert len(read_particles(old_file, supplement=Supplement(amplitude_contrast=0.1))) == 2
    with pytest.raises(InputError, match=r"rlnAmplitudeContrast says 0.1, --amplitude-contrast 0.101"):
        read_particles(old_file, supplement=Supplement(amplitude_contrast=0.101))


def test_quoted_names_and_single_images_are_read(tmp_path, write_stack):
    images = write_stack(tmp_path / "my images.mrcs", 1)
    star = tmp_path / "x.star"
    star.write_text("data_\nloop_\n_rlnImageName\n_rlnPixelSize\n'my images.mrcs' 1.5\n\"1@my images.mrcs\" 1.5\n")
    assert torch.equal(read_particles(star).read_images(slice(None)), images.expand(2, -1, -1))


def test_what_is_written_has_every_column_row_and_table(particle_file, tmp_path):
    star = particle_file(replacing={"\ndata_particles": "\ndata_particles", "\ndata_optics": "\ndata_optics"})
    star.write_text(star.read_text() + "\ndata_extra\n\n_rlnSomething 1\n")
    particles = read_particles(star).with_columns(
        {"rlnRandomSubset": [1, 2, 1, 2], "rlnDefocusV": torch.tensor([1.5, 2, 3, 4]), "rlnNote": ["a b", "", "c", "d"]}
    )
    write_particles(tmp_path / "out.star", particles)
    before, after = read_star(star), read_star(tmp_path / "out.star")
    assert list(after) == ["optics", "extra", "particles"]
    assert (after["optics"], after["extra"]) == (before["optics"], before["extra"])
    assert list(after["particles"].columns) == [*before["particles"].columns, "rlnRandomSubset", "rlnNote"]
    assert after["particles"]["rlnDefocusV"] == ["1.500000", "2.000000", "3.000000", "4.000000"]
    assert after["particles"]["rlnNote"] == ['"a b"', '""', "c", "d"]
    assert after["particles"].version == "30001"
    for column in ("rlnImageName", "rlnDefocusU", "rlnMicrographName"):
        assert after["particles"][column] == before["particles"][column]
    assert particles.optics.defocus_v.tolist() == [1.5, 2, 3, 4]


@given(seed=st.integers(0, 1000))
def test_poses_survive_writing_and_reading(tmp_path_factory, seed):
    generator = torch.Generator().manual_seed(seed)
    folder = tmp_path_factory.mktemp("poses")
    (folder / "x.star").write_text(
        "data_\nloop_\n_rlnImageName\n_rlnPixelSize\n1@a.mrcs 1.5\n2@a.mrcs 1.5\n3@a.mrcs 1.5\n"
    )
    rotation = random_rotations(3, generator=generator, dtype=torch.float64)
    shift = 5 * torch.randn(3, 2, generator=generator, dtype=torch.float64)
    particles = read_particles(folder / "x.star", with_images=False, dtype=torch.float64).with_poses(rotation, shift)
    write_particles(folder / "y.star", particles)
    again = read_particles(folder / "y.star", with_images=False, dtype=torch.float64)
    torch.testing.assert_close(again.rotations, rotation, rtol=0, atol=5e-8)
    torch.testing.assert_close(again.shifts, shift, rtol=0, atol=1e-6)


def test_origins_in_pixels_follow_new_poses(old_file, generator):
    particles = read_particles(old_file)
    shift = torch.tensor([[3.0, -1.5], [0.0, 6.0]])
    moved = particles.with_poses(random_rotations(2, generator=generator), shift)
    assert moved.table["rlnOriginX"] == ["2.000000", "0.000000"]
    assert moved.table["rlnOriginY"] == ["-1.000000", "4.000000"]
    torch.testing.assert_close(moved.shifts, shift)


def test_pose_columns_are_relions():
    angles = torch.tensor([[10.0, 20.0, 30.0]], dtype=torch.float64)
    columns = pose_columns(matrix_from_euler(angles), torch.tensor([[1.0, 2.0]]))
    assert list(columns) == ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"]
    assert [round(float(v), 9) for v in columns.values()] == [10, 20, 30, 1, 2]


PARTICLE_FAULTS = {
    "stack missing": ({"000001@b.mrcs": "000001@c.mrcs"}, r"row 3: the image stack c\.mrcs is not in .*give --datadir"),
    "row beyond the stack": ({"000003@a.mrcs": "000004@a.mrcs"}, r"row 4: 000004@a\.mrcs names image 4, but"),
    "row before the stack": ({"000003@a.mrcs": "000000@a.mrcs"}, r"row 4: 000000@a\.mrcs names image 0"),
    "name without number": ({"000003@a.mrcs": "x@a.mrcs"}, r"row 4: rlnImageName must be number@stack, got 'x@a"),
    "box differs from table": ({"1.500000 16": "1.500000 32"}, r"rlnImageSize says 32 pixels, but the images of"),
    "boxes differ": ({" 0.070 1.500000 16": " 0.070 1.500000 18"}, r"row 2: rlnImageSize says 18 pixels"),
    "pixel sizes differ": ({" 0.070 1.500000": " 0.070 1.6"}, r"1\.6 Å there, but 1\.5 Å in the header of .*a\.mrcs"),
    "pixel size wrong": ({"1.500000": "1.6"}, r"the pixel size is 1\.6 Å there, but 1\.5 Å in the header of .*a\.mrcs"),
    "pixel size missing": ({"_rlnImagePixelSize": "_rlnOther"}, "the pixel size is missing .*or give --pixel-size"),
    "pixel size zero": ({"1.500000": "0"}, r"the pixel size \(rlnImagePixelSize\) must be positive, got 0"),
    "3-D images": ({"16 2\n": "16 3\n"}, r"subtomograms \(rlnImageDimensionality must be 2\)"),
    "group unknown": ({"40.0 2": "40.0 3"}, "particle 4 is in optics group 3, but data_optics has only 1, 2"),
    "groups not told": ({"_rlnOpticsGroup #5": "_rlnOther #5"}, "2 optics groups, but the particles have no column"),
    "groups not named": ({"_rlnOpticsGroup #1": "_rlnOther #1"}, "data_optics has no column rlnOpticsGroup"),
    "no number": ({"13000.5": "many"}, r"row 4: rlnDefocusU must be a finite number, got 'many'"),
    "not finite": ({"13000.5": "nan"}, r"row 4: rlnDefocusU must be a finite number, got 'nan'"),
    "column missing": ({"_rlnVoltage": "_rlnOther"}, "the column rlnVoltage is missing"),
    "voltage": ({"300.000": "0"}, "rlnVoltage must be positive; give it in kV"),
    "contrast": ({"0.100": "10"}, "rlnAmplitudeContrast must lie between 0 and 1"),
    "no images": ({"_rlnImageName": "_rlnOther"}, r"not a particle file but a list of micrographs: no table has"),
}  # fmt: skip


@pytest.mark.parametrize("fault", PARTICLE_FAULTS)
def test_what_is_wrong_is_said_before_a_pixel_is_read(particle_file, fault):
    replacing, message = PARTICLE_FAULTS[fault]
    with pytest.raises(InputError, match=message) as caught:
        read_particles(particle_file(replacing=replacing))
    assert "\n" not in str(caught.value)
    assert "particles.star" in str(caught.value)


def test_no_rows_are_no_particles(particle_file, tmp_path):
    star = particle_file()
    star.write_text(star.read_text().split("000001@a")[0])
    with pytest.raises(InputError, match="the table data_particles has no rows"):
        read_particles(star)


def test_two_particle_tables_are_one_too_many(tmp_path):
    (tmp_path / "x.star").write_text("data_a\nloop_\n_rlnImageName\n1@a\n\ndata_b\nloop_\n_rlnImageName\n1@a\n")
    with pytest.raises(InputError, match=r"several tables have the column rlnImageName \(data_a, data_b\)"):
        read_particles(tmp_path / "x.star")


def test_pixel_size_given_wins_over_file_and_header(particle_file):
    star = particle_file(replacing={"1.500000": "1.6"})
    assert read_particles(star, pixel_size=1.55).pixel_size == 1.55


def test_a_pixel_size_that_is_given_stands_in_what_is_written(particle_file, old_file, tmp_path):
    """Origins in Å beside another pixel size would be other shifts to the next program."""
    for source in (particle_file(), old_file):
        particles = read_particles(source, pixel_size=2.5)
        write_particles(tmp_path / "again.star", particles)
        again = read_particles(tmp_path / "again.star", with_images=False)
        assert again.pixel_size == pytest.approx(2.5, rel=1e-5)
        if particles.shifts is not None:
            torch.testing.assert_close(again.shifts, particles.shifts, atol=1e-4, rtol=0)


def test_boxes_of_stacks_may_differ_until_one_is_asked_for(particle_file, tmp_path, write_stack):
    star = particle_file(replacing={"_rlnImageSize": "_rlnOther"})
    write_stack(tmp_path / "b.mrcs", 1, box_size=18)
    particles = read_particles(star)
    assert sorted(set(particles.box_sizes.tolist())) == [16, 18]
    with pytest.raises(InputError, match="the same rlnImageSize, but there are 16, 18; split the file, or rescale"):
        particles.read_images(slice(None))
    framed = particles.in_common_frame()
    assert (framed.box_size, framed.pixel_size) == (16, 1.5)
    large = (particles.box_sizes == 18).nonzero()[0]
    cropped = torch.from_numpy(particles.images.read(large))[:, 1:-1, 1:-1]  # 9 of 18 is the origin, 8 of 16
    torch.testing.assert_close(framed.read_images(torch.from_numpy(large)), cropped, rtol=0, atol=1e-5)
    small = torch.from_numpy((particles.box_sizes == 16).nonzero()[0])
    stored = torch.from_numpy(particles.images.read(small.numpy()))
    torch.testing.assert_close(framed.read_images(small), stored, rtol=0, atol=1e-5)


def test_truncated_stack_is_named(particle_file, tmp_path):
    star = particle_file()
    (tmp_path / "a.mrcs").write_bytes((tmp_path / "a.mrcs").read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"a\.mrcs: the file is truncated: 16 x 16 x 3 numbers take 3072 bytes"):
        read_particles(star)


@pytest.mark.parametrize(
    ("value", "fault"),
    [(math.nan, "holds NaN or infinite values"), (math.inf, "holds NaN or infinite values"), (None, "is constant")],
)
def test_images_without_signal_are_named_by_row(particle_file, tmp_path, write_stack, value, fault):
    star = particle_file()
    images = write_stack(tmp_path / "a.mrcs")
    images[2] = 7.0
    if value is not None:
        images[2, 3, 4] = value
    with ImageStackWriter(tmp_path / "a.mrcs", 3, 16, 1.5) as stack:
        stack.write(images)
    particles = read_particles(star)
    particles.read_images(slice(0, 3))
    for read in (lambda: check_images(particles), lambda: particles.read_images(torch.tensor([1, 3]))):
        with pytest.raises(InputError, match=rf"particles\.star: row 4: the image 000003@a\.mrcs {fault}"):
            read()


def test_poses_and_optics_can_be_read_without_images(old_file, tmp_path):
    (tmp_path / "a.mrcs").unlink()
    particles = read_particles(old_file, with_images=False)
    assert len(particles.optics) == 2
    with pytest.raises(InputError, match="its images were not opened"):
        particles.read_images(slice(None))
    with pytest.raises(InputError, match="the image size is missing"):
        _ = particles.box_size


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "n", "pixel_size", "box_size"),
    [
        ("cryodrgn_empiar_10076_7.star", 7, 1.31, 320),  # RELION 3.0, .mrc stack
        ("cryodrgn_relion31.star", 5, 2.806, 256),
        ("relion_proj_batch.star", 24, 3.54, 64),  # optics table, and old columns beside it
    ],
)
def test_real_particles_are_read(shared, tmp_path, name, n, pixel_size, box_size):
    particles = read_particles(shared / "corpus" / "star" / name, shared / "corpus" / "particles")
    assert (len(particles), particles.box_size) == (n, box_size)
    assert particles.pixel_size == pytest.approx(pixel_size, rel=1e-6)
    images = particles.read_images(slice(None))
    assert images.shape == (n, box_size, box_size)
    check_images(particles)
    write_particles(tmp_path / "again.star", particles)
    assert read_star(tmp_path / "again.star") == particles.tables


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "n", "defocus", "has_poses"),
    [
        ("aspire_starfile_big.star", 3796, 21186.804688, True),
        ("aspire_rln_proj_65.star", 5, None, True),
        ("cryodrgn_relion5.star", 17, 11949.061330, True),
        ("sphire_TcdA1-0187_frames_ptcls.star", 22, 12908.24, False),
        ("pytom_relion_with_optics_group.star", 100, None, False),
    ],
)
def test_real_particle_tables_are_read_without_their_images(shared, name, n, defocus, has_poses):
    particles = read_particles(shared / "corpus" / "star" / name, with_images=False)
    assert (particles.rotations is not None) == has_poses
    if defocus is not None:
        assert float(particles.optics.defocus_u[0]) == pytest.approx(defocus, rel=1e-6)


@pytest.mark.shared
def test_subtomograms_are_refused(shared):
    with pytest.raises(
        InputError, match=r"subtomograms or tilt series \(rlnTomoName\); single-particle images are needed"
    ):
        read_particles(shared / "corpus" / "star" / "cryocat_relion_4.0.star", with_images=False)
