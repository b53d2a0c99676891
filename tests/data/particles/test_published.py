"""The folder layout of the published data: written, read, and its frame turned into RELION's."""

import numpy as np
import pytest
import torch

from resmfn.core import InputError
from resmfn.data.particles.published import (
    published_folder_name,
    published_from_relion,
    read_published,
    relion_from_published,
    write_published,
)
from resmfn.physics import GaussianBlobs, Optics, project_real_space
from resmfn.rotations import random_rotations


@pytest.fixture
def written(tmp_path, generator):
    images = torch.randn(5, 8, 8, generator=generator)
    rotations = random_rotations(5, generator=generator)
    draws = 1000 * torch.rand(8, 5, generator=generator)
    names = (
        "defocus_u",
        "defocus_v",
        "defocus_angle",
        "voltage",
        "spherical_aberration",
        "amplitude_contrast",
        "phase_shift",
    )
    optics = Optics(**dict(zip(names, draws, strict=False)), b_factor=torch.zeros(5))
    folder = tmp_path / "N5_snr0.1_ctf"
    write_published(folder, iter(images.split(2)), rotations, optics)
    return folder, images, rotations, optics


def test_everything_survives_the_round_trip(written):
    folder, images, rotations, optics = written
    read = read_published(folder)
    np.testing.assert_array_equal(read.images, images.numpy())
    torch.testing.assert_close(read.rotations, rotations)
    for name in ("defocus_u", "defocus_v", "defocus_angle", "voltage", "spherical_aberration", "amplitude_contrast"):
        assert torch.equal(getattr(read.optics, name), getattr(optics, name))
    assert torch.equal(read.optics.phase_shift, optics.phase_shift)


def test_files_have_the_shapes_that_people_hold(written):
    folder, _, _, optics = written
    assert {path.name for path in folder.iterdir()} == {"particle_stack.npy", "poses.npy", "ctf.npy"}
    table = np.load(folder / "ctf.npy")
    assert np.load(folder / "particle_stack.npy").dtype == np.float32
    np.testing.assert_array_equal(table[:, 0], optics.defocus_u.numpy())
    np.testing.assert_array_equal(table[:, 3], optics.voltage.numpy())
    assert table.shape == (5, 7)


def test_images_without_ctf_have_no_ctf_file(tmp_path, generator):
    write_published(tmp_path / "x", iter([torch.rand(2, 4, 4)]), random_rotations(2, generator=generator), None)
    assert not (tmp_path / "x" / "ctf.npy").exists()
    assert read_published(tmp_path / "x").optics is None


def test_images_without_ctf_do_not_take_over_the_ctf_that_was_there(written, generator):
    folder, images, rotations, _ = written
    write_published(folder, iter([images]), rotations, None)
    assert read_published(folder).optics is None


def test_a_folder_that_was_left_halfway_cannot_be_read(written):
    folder, images, rotations, optics = written

    def stops():
        yield images[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_published(folder, stops(), rotations, optics)
    with pytest.raises(InputError, match="the file is missing"):
        read_published(folder)


def test_frames_are_each_others_inverse_and_rotations(generator):
    rotations = random_rotations(20, generator=generator, dtype=torch.float64)
    published = published_from_relion(rotations)
    torch.testing.assert_close(torch.linalg.det(published), torch.ones(20, dtype=torch.float64))
    assert torch.equal(relion_from_published(published), rotations)


def test_published_poses_make_the_same_images(generator):
    """The published rule, in its own words: read the map as [x, y, z], turn (w, h, d), sum over d."""
    n = 24
    volume = GaussianBlobs.random(6, radius=6, generator=generator, dtype=torch.float64).volume(n)
    rotations = random_rotations(3, generator=generator, dtype=torch.float64)
    swapped = volume.permute(2, 1, 0)  # axis 0 of the file is called x there
    k = torch.arange(n, dtype=torch.float64) - n // 2
    for rotation, relion in zip(published_from_relion(rotations), rotations, strict=True):
        d, h, w = torch.meshgrid(k, k, k, indexing="ij")
        q = torch.stack((w, h, d), dim=-1) @ rotation  # rows: R^T (w, h, d)
        grid = 2 * (q + n // 2) / (n - 1) - 1
        sampled = torch.nn.functional.grid_sample(swapped[None, None], grid[None], align_corners=True)[0, 0]
        # The two sums over d end one voxel apart.
        torch.testing.assert_close(sampled.sum(0), project_real_space(volume, relion[None])[0], rtol=0, atol=1e-3)


def test_folder_names_say_number_noise_and_ctf():
    assert published_folder_name(2000, 0.1, with_ctf=True) == "N2000_snr0.1_ctf"
    assert published_folder_name(10, None, with_ctf=False) == "N10_snrinf"


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("particle_stack.npy", np.zeros((5, 8, 9)), r"images must have shape \(n, N, N\), got \(5, 8, 9\)"),
        ("poses.npy", np.zeros((4, 3, 3)), r"poses must have shape \(5, 3, 3\), got \(4, 3, 3\)"),
        ("poses.npy", np.zeros((5, 3, 3)), "poses must be rotation matrices, but their rows are not orthonormal"),
        ("ctf.npy", np.zeros((5, 6)), r"expected shape \(5, 7\), got \(5, 6\)"),
        ("poses.npy", None, r"poses\.npy: the file is missing"),
        ("poses.npy", b"text", r"poses\.npy: not a complete \.npy file"),
    ],
)
def test_what_is_wrong_is_named(written, name, array, message):
    path = written[0] / name
    path.unlink()
    if isinstance(array, bytes):
        path.write_bytes(array)
    elif array is not None:
        np.save(path, array)
    with pytest.raises(InputError, match=message):
        read_published(written[0])


def test_a_stack_that_cannot_be_finished_is_not_there(tmp_path, generator):
    def batches():
        yield torch.rand(2, 4, 4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_published(tmp_path / "x", batches(), random_rotations(4, generator=generator), None)
    assert list((tmp_path / "x").iterdir()) == []
