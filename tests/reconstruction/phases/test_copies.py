"""Symmetry that is asked for, and relaxed: images left out know whether copies differ."""

from pathlib import Path

import pytest
import torch

from reconstruction.conftest import build_context
from reconstruction.scenes import PIXEL_SIZE, ring, write_particle_files
from resmfn.core import InputError, make_generator
from resmfn.evaluation import fourier_shell_correlation
from resmfn.physics import GaussianBlobs
from resmfn.reconstruction import ReconstructionConfig
from resmfn.reconstruction.phase_table import enter_first_phase, take_step
from resmfn.reconstruction.phases import copies
from resmfn.reconstruction.phases.copies import STAGES, _climb, judge_group
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.reconstruction.results.symmetry import symmetry_test, symmetry_warnings
from resmfn.reconstruction.run.context import RunContext, already_set
from resmfn.reconstruction.run.records import Maps
from resmfn.rotations import point_group, random_rotations

BOX, N = 24, 200


def files_of(blobs: GaussianBlobs, folder: Path, *, mixed: bool) -> Path:
    """Write images with poses; with ``mixed``, at a copy by C4 of each that is drawn at random."""
    generator = make_generator(4)
    rotation = random_rotations(N, generator=generator)
    clean = blobs.project(rotation, BOX)
    images = clean / clean.std() + 1.0 * torch.randn(clean.shape, generator=generator)
    if mixed:
        rotation = rotation @ point_group("C4").float()[torch.randint(4, (N,), generator=generator)]
    subset = torch.arange(N) % 2 + 1
    return write_particle_files(folder, images, poses=Poses(rotation, torch.zeros(N, 2)), subset=subset)


def run_of(particles: Path, folder: Path, **settings: object) -> RunContext:
    """Refine given poses to the last maps of the halves."""
    diameter = 0.9 * BOX * PIXEL_SIZE
    run = build_context(particles, folder, poses="from-input", mask_diameter=diameter, **settings)
    enter_first_phase(run)
    while run.state.phase != "joint":
        take_step(run)
    return run


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return images of a ring of four with an odd subunit, at poses that know no copy."""
    return files_of(ring("C4", odd=True), tmp_path_factory.mktemp("odd"), mixed=True)


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return images of a ring of four."""
    return files_of(ring("C4"), tmp_path_factory.mktemp("even"), mixed=True)


@pytest.fixture(scope="module")
def even_run(even: Path, tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """Return a run of the ring of four with its symmetry."""
    return run_of(even, tmp_path_factory.mktemp("even run"), symmetry="C4")


def test_a_group_that_the_molecule_has_is_not_doubted(even_run: RunContext) -> None:
    run = even_run
    assert not run.state.tests.tell_copies_apart
    assert symmetry_warnings(run) == []


def test_starts_by_other_generators_begin_elsewhere(even_run: RunContext) -> None:
    """The likeliest of several starts says more than one start only where they differ: seen after a single step."""
    symmetric, group = even_run.state.maps.references["half1"], point_group("C4")
    (cycles, _, hottest), *_ = STAGES

    def difference(seed: int) -> torch.Tensor:
        first_step = ((cycles, 1, hottest),)
        generator = make_generator(seed)
        return _climb(even_run, even_run.half("half1"), symmetric, group, first_step, generator=generator)[0]

    first, again, other = (difference(seed) for seed in (1, 1, 2))
    torch.testing.assert_close(first, again)
    assert float((first - other).norm() / first.norm()) > 0.1


def test_a_group_that_it_has_only_nearly_is_named(odd: Path, tmp_path: Path) -> None:
    run = run_of(odd, tmp_path, symmetry="C4")
    assert run.state.tests.tell_copies_apart
    assert symmetry_warnings(run)[0].startswith("the molecule does not have C4")


def test_a_run_in_c1_is_not_asked(odd: Path, tmp_path: Path) -> None:
    run = build_context(odd, tmp_path)
    run.state.maps = Maps(references={"half1": torch.zeros(BOX, BOX, BOX)})
    judge_group(run)
    assert symmetry_test(run) is None


@pytest.mark.parametrize("n_second", [0, 1])
def test_a_class_that_lost_its_images_is_not_asked(odd: Path, tmp_path: Path, n_second: int) -> None:
    run = build_context(odd, tmp_path, symmetry="C4")
    run.state.maps = Maps(references={"half1": torch.zeros(BOX, BOX, BOX)})
    run.half_index = (run.half_index[0], run.half_index[1][:n_second])
    judge_group(run)
    assert symmetry_test(run) is None


def test_fixed_poses_are_asked_as_they_are(odd: Path, tmp_path: Path) -> None:
    run = build_context(odd, tmp_path, symmetry="C4", poses="fixed")
    enter_first_phase(run)
    asked = copies._refined(run, ring("C4").volume(BOX))
    assert torch.equal(asked.poses.rotation, run.poses().rotation)


def test_the_odd_subunit_comes_back_when_the_symmetry_is_relaxed(odd: Path, tmp_path: Path) -> None:
    """Nearly all images agree on the odd subunit's place: their poses are right up to one turn of the group for all."""
    run = run_of(odd, tmp_path, relax_symmetry="C4")
    true = random_rotations(N, generator=make_generator(4))
    found, group = run.poses().rotation, point_group("C4").float()
    off = [torch.einsum("nij,nij->n", found @ turn, true) for turn in group]  # 3 where they are alike
    assert max(float((trace > 2.8).float().mean()) for trace in off) > 0.95
    assert run.state.tests.tell_copies_apart
    assert symmetry_warnings(run) == []
    assert float(run.state.qualities.copy_shares.amax(dim=1).median()) > 0.99


def test_an_exact_symmetry_that_is_relaxed_stays(even: Path, even_run: RunContext, tmp_path: Path) -> None:
    """The map is the symmetric one, as far as its own halves agree; the run says that relaxing was needless."""
    run = run_of(even, tmp_path, relax_symmetry="C4")
    first, second = (run.state.maps.references[name].cpu() for name in ("half1", "half2"))
    to_symmetric = fourier_shell_correlation(
        first, even_run.state.maps.references["half1"].cpu(), PIXEL_SIZE
    ).correlation
    to_each_other = fourier_shell_correlation(first, second, PIXEL_SIZE).correlation
    known = slice(1, int(run.state.band.radius))
    assert bool((to_symmetric[known] > to_each_other[known] - 0.05).all())
    assert float(to_symmetric[1:5].min()) > 0.95
    assert not run.state.tests.tell_copies_apart
    assert "not told apart" in symmetry_warnings(run)[0]
    assert float((already_set(run.state.qualities.copy_shares) - 0.25).abs().max()) < 1e-6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"relax_symmetry": "C1"}, "--relax-symmetry C1 has no copies to choose among"),
        ({"relax_symmetry": "X"}, "--relax-symmetry X: a point group must be"),
        (
            {"relax_symmetry": "C4", "symmetry": "C2"},
            "makes a map in C1 and excludes --symmetry C2",
        ),
        ({"relax_symmetry": "C4", "poses": "fixed"}, "excludes --poses fixed"),
        ({"relax_symmetry": "C4", "n_classes": 2}, "excludes --n-classes 2"),
    ],
)
def test_what_cannot_be_relaxed_is_refused_by_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ReconstructionConfig(particles=Path("p.star"), out=Path("out"), **settings)
