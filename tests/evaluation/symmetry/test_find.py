"""Point groups of maps that are put together of copies, off center, in an unknown frame and with noise."""

import pytest
import torch

from resmfn.core import ResmfnError, ShapeError, make_generator
from resmfn.evaluation import find_symmetry
from resmfn.evaluation.symmetry.axes import Axis
from resmfn.evaluation.symmetry.copies import TurnedCopies
from resmfn.evaluation.symmetry.groups import lines_of, placements
from resmfn.fourier import low_pass, soft_sphere
from resmfn.physics.phantoms.blobs import GaussianBlobs
from resmfn.rotations import exp_so3, point_group, random_rotations

SIZE, PIXEL, NOISE = 40, 2.0, 0.02
CENTER = torch.tensor([0.6, -1.2, 0.8], dtype=torch.float64)
"""Voxels."""


def assembly(group: str, offset: float, *, odd: bool = False) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Half maps of copies of six blobs; with ``odd``, one copy lacks half of them. And the frame."""
    generator = make_generator(0)
    unit = GaussianBlobs.random(6, radius=4.0, width=1.3, generator=generator, dtype=torch.float64)
    frame = random_rotations(1, generator=generator, dtype=torch.float64)[0]
    place = torch.tensor([0.9 * offset, 0.0, 0.4 * offset], dtype=torch.float64)
    kept = [slice(0, 3 if odd and i == 1 else 6) for i in range(len(point_group(group)))]
    turned = [(unit.centers + place) @ turn.T @ frame.T + CENTER for turn in point_group(group)]
    blobs = GaussianBlobs(
        centers=torch.cat([c[k] for c, k in zip(turned, kept, strict=True)]),
        widths=torch.cat([unit.widths[k] for k in kept]),
        amplitudes=torch.cat([unit.amplitudes[k] for k in kept]),
    )
    density = blobs.volume(SIZE).float()
    return [density + NOISE * torch.randn(density.shape, generator=generator) for _ in range(2)], frame


def found_in(halves: list[torch.Tensor]):
    mean = (halves[0] + halves[1]) / 2
    return find_symmetry(mean, PIXEL, (halves[0], halves[1]), generator=make_generator(1))


@pytest.mark.parametrize(("group", "offset"), [("C2", 7.0), ("C4", 8.0), ("D3", 9.0), ("T", 11.0)])
def test_the_group_its_axes_and_its_center_are_found(group, offset):
    halves, frame = assembly(group, offset)
    found = found_in(halves)
    assert found.group.name == group
    assert found.pseudo is None
    assert found.group.agreement > 0.95
    assert found.group.resolution == pytest.approx(found.limit)
    own, true = found.group.frame @ point_group(group) @ found.group.frame.T, frame @ point_group(group) @ frame.T
    off = (own[:, None] - true[None]).abs().amax((2, 3)).amin(1)
    assert float(off.max()) < 0.02  # radians
    off_center = found.group.center / PIXEL - CENTER
    if group.startswith("C"):  # anywhere along its axis
        off_center = off_center - (off_center @ frame[:, 2]) * frame[:, 2]
    assert float(off_center.norm()) < 0.1


def test_an_object_without_symmetry_has_none():
    found = found_in(assembly("C1", 0.0)[0])
    assert found.group.name == "C1"
    assert found.pseudo is None


def hollow(halves: list[torch.Tensor], radius: float) -> list[torch.Tensor]:
    """Half maps on a hollow sphere about their center, three times as strong as they are."""
    index = torch.arange(SIZE) - SIZE // 2
    x, y, z = (index - float(c) for c in CENTER)
    distance = (x.square() + y[:, None].square() + z[:, None, None].square()).sqrt()
    sphere = (-((distance - radius) / 1.5).square() / 2).exp()
    return [half + 3 * half.norm() / sphere.norm() * sphere for half in halves]


@pytest.mark.parametrize(("group", "offset"), [("D3", 9.0), ("O", 11.0)])
def test_what_is_the_same_in_all_directions_hides_no_group(group, offset):
    """Random turns of a hollow sphere agree nearly as well as its copies: that is said by its size alone."""
    found = found_in(hollow(assembly(group, offset)[0], 12.0))
    assert found.group.name == group
    assert found.pseudo is None


def test_what_is_the_same_in_all_directions_makes_no_group():
    odd = found_in(hollow(assembly("C4", 9.0, odd=True)[0], 12.0))
    assert odd.group.name == "C1"
    assert odd.pseudo is not None
    assert odd.pseudo.name == "C4"
    generator = make_generator(3)
    blobs = GaussianBlobs.random(24, radius=12.0, width=1.3, generator=generator).volume(SIZE)
    noisy = [blobs + NOISE * torch.randn(blobs.shape, generator=generator) for _ in range(2)]
    none = found_in(hollow(noisy, 12.0))
    assert none.group.name == "C1"
    assert none.pseudo is None


def test_one_odd_copy_is_a_pseudo_symmetry():
    """A whole ring has C4; without half of one of its four copies, three of four copies still agree: less, but well."""
    found = found_in(assembly("C4", 8.0, odd=True)[0])
    assert found.group.name == "C1"
    assert found.pseudo is not None
    assert found.pseudo.name == "C4"
    assert not found.pseudo.holds
    assert 0.5 < found.pseudo.agreement < 0.9


def test_shells_beyond_a_maps_band_say_nothing():
    """A sphere cuts a map whose density goes on beyond it, and what leaks into empty shells is as alike as the map."""
    halves, _ = assembly("C4", 0.0)
    limits = []
    for last in (SIZE / 2, 7.0):
        background = low_pass(torch.randn(SIZE, SIZE, SIZE, generator=make_generator(5)), 5.0, 0.0).to(halves[0])
        cut = [low_pass(half + 0.5 * half.std() / background.std() * background, last, 0.0) for half in halves]
        limits.append(found_in(cut).limit)
    assert limits[1] == pytest.approx(SIZE * PIXEL / 7, rel=0.2)
    assert limits[0] < 0.75 * limits[1]


def test_noise_has_no_symmetry():
    noise = [torch.randn(32, 32, 32, generator=make_generator(seed)) for seed in (1, 2)]
    assert found_in(noise).group.name == "C1"


def test_a_copy_about_the_right_center_is_the_map():
    halves, frame = assembly("C2", 7.0)
    copies = TurnedCopies(halves[0], halves[0], 12)
    turn = (frame @ point_group("C2")[1] @ frame.T)[None]
    assert float(copies.turned(turn, CENTER)[0, 1:9].min()) > 0.97
    assert float(copies.turned(turn, CENTER + 2.0)[0, 4:9].mean()) < 0.6
    torch.testing.assert_close(copies.halves(), torch.ones(13, dtype=torch.float64), rtol=0, atol=1e-5)


COUNTS = {
    "C4": [4], "D3": [2] * 3 + [3], "T": [2] * 3 + [3] * 4, "O": [2] * 6 + [3] * 4 + [4] * 3,
    "I": [2] * 15 + [3] * 10 + [5] * 6,
}  # fmt: skip


@pytest.mark.parametrize(("group", "counts"), COUNTS.items())
def test_the_axes_of_each_group_are_known(group, counts):
    assert sorted(lines_of(group)[1]) == counts


@pytest.mark.parametrize("group", ["C5", "D2", "D7", "T", "O", "I"])
def test_a_group_is_placed_from_two_of_its_axes(group):
    """Whichever frame its axes are seen in, one of the placements has the group's own elements."""
    frame = exp_so3(torch.tensor([0.4, -0.7, 0.9], dtype=torch.float64))
    lines, orders = lines_of(group)
    axes = [
        Axis(n, frame @ line, torch.zeros(3, dtype=torch.float64), 1.0) for line, n in zip(lines, orders, strict=True)
    ]
    true = frame @ point_group(group)[1:] @ frame.T
    named = [placed for placed in placements(axes) if placed.name == group]
    off = [float((p.elements()[:, None] - true[None]).abs().amax((2, 3)).amin(1).max()) for p in named]
    assert min(off) < 1e-6


def test_what_is_no_map_is_refused():
    generator = make_generator(0)
    flat = torch.zeros(32, 32, 32)
    with pytest.raises(ResmfnError, match="constant"):
        find_symmetry(flat, 1.0, generator=generator)
    with pytest.raises(ShapeError, match="24 voxels"):
        find_symmetry(torch.rand(16, 16, 16, generator=generator), 1.0, generator=generator)
    volume = torch.rand(32, 32, 32, generator=generator)
    with pytest.raises(ShapeError, match="second half map"):
        find_symmetry(volume, 1.0, (volume, volume[:, :, 1:]), generator=generator)


def test_a_constant_below_the_map_changes_nothing():
    halves, _ = assembly("C2", 7.0)
    plain, sunk = (found_in([half + offset for half in halves]) for offset in (0.0, -10.0))
    assert sunk.group.name == plain.group.name == "C2"
    torch.testing.assert_close(sunk.group.center, plain.group.center, rtol=0, atol=0.05)


def test_a_map_that_is_nowhere_bright_is_refused():
    with pytest.raises(ResmfnError, match="must be brighter inside the sphere"):
        find_symmetry(-soft_sphere(SIZE, 8.0, 4.0), PIXEL, generator=make_generator(1))
