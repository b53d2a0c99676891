"""Every file of the corpus that holds particles: read right, or refused by a line that says what it is."""

import mrcfile
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from resmfn.core import InputError
from resmfn.data import read_map, read_particles, read_stack_images, read_stored_map

pytestmark = [pytest.mark.shared, pytest.mark.filterwarnings("ignore:(Map ID string|Unrecognised machine stamp)")]

#: Which files hold single-particle images, and how many: counted in their text, by hand.
PARTICLE_FILES = {
    "aspire_rln_proj_65.star": 5,
    "aspire_sample_relion_one_image.star": 1,
    "aspire_sample_relion_symmetry_group_D4.star": 17,
    "aspire_starfile_big.star": 3796,
    "cryodrgn_empiar_10076_7.star": 7,
    "cryodrgn_relion31.star": 5,
    "cryodrgn_relion31.v2.star": 5,
    "cryodrgn_relion5.star": 17,
    "cryodrgn_sta_testing.star": 219,
    "cryodrgn_sta_testing_bin8.star": 219,
    "pytom_relion_with_optics_group.star": 60,
    "relion_proj_batch.star": 24,
    "relion_proj_batch_pfac2.star": 24,
    "sphire_TcdA1-0187_frames_ptcls.star": 22,
}
#: What the refusal of some of the others must say.
REASONS = {
    "aspire_run_001_it025_optimiser.star": "the state of a RELION run",
    "aspire_sample.star": "line 20: this row has 5 cells, but the table has 4 columns",
    "aspire_sample_incomplete_ctf_params.star": "the column rlnVoltage is missing",
    "attamatti_micrographs_ctf_3.0beta2.star": "a list of micrographs",
    "cryocat_relion_4.0.star": "subtomograms or tilt series",
    "cylindra_Picks_job_picks_particles.star": "a tomography file",
    "mtf_k2_300kV.star": "the transfer function of a detector",
    "pytom_example_starfile.star": "subtomograms",
    "relion_refine3d_job.star": "the options of a RELION job",
    "sfftk_test_data3.star": "mmCIF",
    "starfile_default_pipeline.star": "the list of a RELION project's jobs",
    "starfile_postprocess.star": "a Fourier shell correlation",
    "starfile_single_line_middle_of_multiblock.star": "several tables have the column rlnImageName",
}


def plain_columns(path):
    """Read columns in the plainest way: a dict from block and label to cells, by white space; no quotes."""
    found, block, labels = {}, "", []
    for line in path.read_text().splitlines():
        words = line.split()
        if line.startswith("data_") and len(words) == 1:
            block, labels = line.strip(), []
        elif words and words[0].startswith("_"):
            labels.append((block, words[0][1:]))
            found[labels[-1]] = []
        elif words and labels and not line.startswith("#") and words[0] != "loop_":
            assert len(words) == len(labels)
            for label, word in zip(labels, words, strict=True):
                found[label].append(word)
    return found


@pytest.mark.parametrize("name", PARTICLE_FILES)
def test_particle_tables_are_read_right(shared, name):
    path = shared / "corpus" / "star" / name
    particles = read_particles(path, with_images=False, dtype=torch.float64)
    columns = plain_columns(path)
    n = PARTICLE_FILES[name]
    assert len(particles) == n
    group = {}
    for (block, label), cells in columns.items():
        if block == "data_optics":
            group[label] = dict(zip(columns[block, "rlnOpticsGroup"], cells, strict=True))
    own = {label: cells for (block, label), cells in columns.items() if block != "data_optics" and len(cells) == n}

    def text(label):
        if label in group:
            return [group[label][number] for number in own["rlnOpticsGroup"]]
        return own.get(label)

    def numbers(*labels):
        return np.stack([np.array(text(label), dtype=float) for label in labels], axis=1)

    assert particles.table["rlnImageName"] == own["rlnImageName"]
    if text("rlnImagePixelSize"):
        np.testing.assert_allclose(particles.pixel_sizes, numbers("rlnImagePixelSize")[:, 0])
    elif text("rlnMagnification"):
        microns, magnification = numbers("rlnDetectorPixelSize", "rlnMagnification").T
        np.testing.assert_allclose(particles.pixel_sizes, 1e4 * microns / magnification, rtol=1e-5)
    else:
        assert particles.pixel_sizes is None or text("rlnPixelSize")
    if text("rlnDefocusU"):
        optics = particles.optics
        for field, label in (
            *(("defocus_u", "rlnDefocusU"), ("defocus_v", "rlnDefocusV"), ("defocus_angle", "rlnDefocusAngle")),
            *(("voltage", "rlnVoltage"), ("spherical_aberration", "rlnSphericalAberration")),
            ("amplitude_contrast", "rlnAmplitudeContrast"),
        ):
            np.testing.assert_array_equal(getattr(optics, field), numbers(label)[:, 0], err_msg=label)
    else:
        assert particles.optics is None
    if text("rlnAngleRot") and text("rlnAngleTilt") and text("rlnAnglePsi"):
        angles = numbers("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
        expected = Rotation.from_euler("ZYZ", angles, degrees=True).as_matrix().transpose(0, 2, 1)
        np.testing.assert_allclose(particles.rotations, expected, atol=1e-12)
    else:
        assert particles.rotations is None
    if text("rlnOriginXAngst"):
        np.testing.assert_array_equal(particles.shifts, numbers("rlnOriginXAngst", "rlnOriginYAngst"))
    elif text("rlnOriginX") and particles.pixel_sizes is not None:
        expected = numbers("rlnOriginX", "rlnOriginY") * particles.pixel_sizes[:, None]
        np.testing.assert_allclose(particles.shifts, expected)


def test_all_others_are_refused_in_one_line(shared):
    said = {}
    for path in sorted((shared / "corpus" / "star").glob("*.star")):
        if path.name not in PARTICLE_FILES:
            with pytest.raises(InputError) as caught:
                read_particles(path, with_images=False)
            said[path.name] = str(caught.value)
            assert "\n" not in said[path.name]
            assert path.name in said[path.name]
    assert len(said) > 40
    assert {name: reason for name, reason in REASONS.items() if reason not in said[name]} == {}


def test_particle_stacks_are_read_as_mrcfile_reads_them(shared):
    paths = sorted((shared / "corpus" / "particles").iterdir())
    assert len(paths) == 5
    for path in paths:
        with mrcfile.open(path, permissive=True) as file:
            expected = file.data.reshape(-1, *file.data.shape[-2:])
        assert np.array_equal(read_stack_images(path, np.arange(len(expected))), expected), path.name
        particles = read_particles(path, pixel_size=1.0)
        assert torch.equal(particles.read_images(slice(None)), torch.from_numpy(expected.astype(np.float32)))


def cube_refusal(path, shape):
    """Say what must keep a map from being used as a cube: what its header says, and its shape, None if nothing."""
    with mrcfile.open(path, permissive=True, header_only=True) as file:
        voxel, angles = file.voxel_size.tolist(), file.header.cellb.tolist()
    if min(voxel) <= 0:
        return "does not say the voxel size"
    if any(abs(angle - 90) > 0.01 for angle in angles):
        return "must be at right angles"
    if max(voxel) > 1.001 * min(voxel):
        return "voxels must be cubes"
    return "must be a cube here" if len(set(shape)) > 1 else None


def test_all_maps_are_read_as_mrcfile_reads_them_and_used_as_cubes_where_they_can_be(shared):
    paths = sorted((shared / "corpus" / "maps").iterdir())
    refused = set()
    for path in paths:
        with mrcfile.open(path, permissive=True) as file:
            order = (file.header.maps, file.header.mapr, file.header.mapc)
            expected = file.data.transpose([order.index(axis) for axis in (3, 2, 1)]).astype(np.float32)
            voxel = file.voxel_size.tolist()
        stored = read_stored_map(path)
        assert np.array_equal(stored.data, expected), path.name
        if min(voxel) > 0:
            assert stored.voxel_size == pytest.approx(voxel, rel=1e-5), path.name
        else:
            assert stored.voxel_size is None
        reason = cube_refusal(path, expected.shape)
        if reason is None:
            assert read_map(path).pixel_size == pytest.approx(voxel[0], rel=1e-5)
        else:
            refused.add(reason)
            with pytest.raises(InputError, match=reason) as caught:
                read_map(path)
            assert path.name in str(caught.value)
            assert "\n" not in str(caught.value)
        cube = read_map(path, 2.0, pad=True)  # whatever the header says, and whatever the shape
        assert cube.data.shape == (max(expected.shape),) * 3
        assert float(cube.data.double().square().sum()) == pytest.approx(
            float((expected.astype(float) ** 2).sum()), rel=1e-6
        )
    assert len(paths) == 15
    assert len(refused) == 3  # there are examples of all but slanted voxels


def test_one_set_in_two_layouts_is_the_same(shared):
    first, second = (
        read_particles(shared / "corpus" / "star" / name, shared / "corpus" / "particles")
        for name in ("cryodrgn_relion31.star", "cryodrgn_relion31.v2.star")  # optics before, and after
    )
    assert torch.equal(first.rotations, second.rotations)
    assert torch.equal(first.optics.defocus_u, second.optics.defocus_u)
    assert torch.equal(first.read_images(slice(None)), second.read_images(slice(None)))
