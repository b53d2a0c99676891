"""The search over the whole sphere: it finds what lies far away, and never makes an image worse."""

from types import SimpleNamespace

import pytest
import torch

from resmfn.core import make_generator
from resmfn.fourier import half_plane_pixels
from resmfn.physics.projection import extract_slices, padded_transform
from resmfn.reconstruction.published import sphere
from resmfn.reconstruction.published.poses import Slices
from resmfn.reconstruction.published.sphere import search_sphere
from resmfn.rotations import geodesic_degrees, random_rotations

BOX, N = 16, 40


@pytest.fixture
def scene():
    """Return noisy images of a map without symmetry as a stage sees them, its slices, and the true poses."""
    generator = make_generator(3)
    volume = torch.zeros(BOX, BOX, BOX)
    inner = slice(4, 12)
    volume[inner, inner, inner] = torch.rand(8, 8, 8, generator=generator)
    slices = Slices(padded_transform(volume), half_plane_pixels(5, radius_min=0.5))
    rotation = random_rotations(N, generator=generator)
    ctf = torch.rand(N, len(slices.pixels), generator=generator) - 0.3
    values = ctf * extract_slices(slices.transform, rotation, slices.pixels)
    noise = torch.randn(*values.shape, 2, generator=generator)
    values = values + 0.1 * values.abs().square().mean().sqrt() * torch.view_as_complex(noise)
    view = SimpleNamespace(batch=lambda rows: (values[rows], ctf[rows]))
    return view, slices, rotation


def search(view, slices, rotation, seed=1, n=9216):
    """Return the poses, and which images changed theirs."""
    found = search_sphere(view, slices, rotation, generator=make_generator(seed), n_rotations=n)
    return found, (found != rotation).any(dim=2).any(dim=1)


def test_poses_are_found_from_anywhere(scene):
    view, slices, rotation = scene
    start = random_rotations(N, generator=make_generator(7))
    found, changed = search(view, slices, start)
    assert float(geodesic_degrees(start, rotation).median()) > 90
    assert bool(changed.all())
    errors = geodesic_degrees(found, rotation)
    assert float(errors.median()) < 8
    assert float((errors < 15).float().mean()) > 0.9


def test_no_image_gets_a_pose_of_higher_loss(scene):
    view, slices, rotation = scene
    start = torch.cat((rotation[: N // 2], random_rotations(N - N // 2, generator=make_generator(7))))
    found, changed = search(view, slices, start, n=200)
    before, after = (slices.loss_and_slope(pose, *view.batch(slice(None)))[0] for pose in (start, found))
    assert bool((after[changed] < before[changed]).all())
    assert torch.equal(found[~changed], start[~changed])
    assert 0 < int((~changed).sum()) < N, "some keep their pose, some do not"


def test_chunks_change_nothing(scene, monkeypatch):
    view, slices, rotation = scene
    whole = search(view, slices, rotation.roll(1, 0), n=300)
    monkeypatch.setattr(sphere, "_CPU_BUDGET", 300 * 7)
    torch.testing.assert_close(search(view, slices, rotation.roll(1, 0), n=300), whole)
