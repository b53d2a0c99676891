"""The state that a checkpoint holds: all of it comes back, and its form does not change unnoticed."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import torch

from resmfn.core import InputError
from resmfn.data.runs.run_folder import RunFolder
from resmfn.reconstruction import ReconstructionConfig
from resmfn.reconstruction.poses.candidates import Candidates
from resmfn.reconstruction.poses.posed_images import CopyShares, PosedImages, Poses
from resmfn.reconstruction.run.bookkeeping import Costs
from resmfn.reconstruction.run.held_out import CopyTest, HeldOutTests, NoiseControl
from resmfn.reconstruction.run.records import (
    Agreement,
    Band,
    Defocus,
    ImageQualities,
    Maps,
    PoseEstimates,
    SoftRounds,
    Starts,
)
from resmfn.reconstruction.run.state import RunState

CPU = torch.device("cpu")
LAYOUTS = {
    5: """
        state: phase step map_size starts poses qualities defocus band maps agreement soft tests costs \
n_metrics classes branching input
        starts: best radius mask_radius maps log_likelihoods agreement n_images
        poses: best candidates max_probability entropy
        best: rotation shift
        candidates: rotation shift
        qualities: noise_power gain good copy_shares
        defocus: offset told spread change
        band: radius split
        maps: references unmasked networks
        agreement: fsc resolutions rounds_at_rest
        soft: are_on priors
        tests: structure copies
        structure: n_images gain gain_error lead lead_error
        copies: group n_images gain gain_error lead lead_error resolution
        costs: seconds cpu_seconds peak_memory peak_gpu_memory
    """
}
"""Of the present format: each record by the name of its field, and its own fields."""
PLAIN = {"branching", "input", "spread", "references", "unmasked", "networks", "priors"}


def full_state(*, classes: bool = True) -> RunState:
    """Return a state in which nothing has its default, and no two tensors are alike."""
    count = iter(range(100))

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(next(count)))

    return RunState(
        phase="halves",
        step=2,
        map_size=8,
        starts=Starts(draw(2, 2, 2), 3.0, 5.0, (draw(2, 2, 2), draw(2, 2, 2)), (1.5, 2.0), (0.9, 1.0), 6),
        poses=PoseEstimates(
            Poses(draw(4, 3, 3), draw(4, 2)), Candidates(draw(4, 2, 3, 3), draw(4, 2, 2)), draw(4), draw(4)
        ),
        qualities=ImageQualities(draw(1, 3), draw(4), draw(4), draw(4, 2)),
        defocus=Defocus(draw(4), draw(4) > 0, {"half1": 120.0}, 3.0),
        band=Band(4.0, split=2.0),
        maps=Maps(
            {"half1": draw(2, 2, 2), "joint": draw(2, 2, 2)},
            {"half2": draw(2, 2, 2)},
            {"joint": {"network": {"weight": draw(2)}, "amplitude": 0.5}},
        ),
        agreement=Agreement(draw(3), (10.0, 8.0), 1),
        soft=SoftRounds(True, {"half1": draw(3)}),
        tests=HeldOutTests(NoiseControl(5, 1.0, 0.1, 2.0, 0.2), CopyTest("C2", 5, 1.0, 0.1, 2.0, 0.2, 9.0)),
        costs=Costs(3.25, 3.5, 1000, 2000),
        n_metrics=7,
        classes=[full_state(classes=False)] if classes else [],
        branching={
            "untried": {0: 2},
            "table": [{"classes": 1.0}],
            "maps": {"volumes": draw(1, 2, 2, 2), "radius": 3.0},
        },
        input={"the number of images": 4, "noise": draw(4)},
    )


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Return all plain values and tensors within, with where they are."""
    if is_dataclass(value):
        for f in fields(value):
            yield from leaves(getattr(value, f.name), f"{path}.{f.name}")
    elif isinstance(value, dict):
        for name, its in value.items():
            yield from leaves(its, f"{path}[{name}]")
    elif isinstance(value, list | tuple):
        yield f"{path} is", type(value)
        for number, its in enumerate(value):
            yield from leaves(its, f"{path}[{number}]")
    else:
        yield path, value


def is_same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other


def config_of(folder: Path, **changed: object) -> ReconstructionConfig:
    return ReconstructionConfig(particles=Path("particles.star"), out=folder / "run", **changed)


def test_all_of_a_state_comes_back_from_a_checkpoint(tmp_path) -> None:
    state, default = full_state(), dict(leaves(RunState()))
    with RunFolder(config_of(tmp_path)) as folder:
        folder.begin()
        folder.save(state.to_dict(), state.format)
    stored = RunFolder(config_of(tmp_path, resume=True)).load(RunState.format)
    again = RunState.from_dict(stored, CPU)
    before, after = dict(leaves(state)), dict(leaves(again))
    assert before.keys() == after.keys()
    assert [name for name, value in before.items() if not is_same(value, after[name])] == []
    # Nothing was left out of this test: no field had its default.
    unset = [name for name in before.keys() & default.keys() if is_same(before[name], default[name])]
    assert [name for name in unset if not name.endswith(" is")] == []


def test_a_fresh_state_comes_back_as_well() -> None:
    assert RunState.from_dict(RunState().to_dict(), CPU) == RunState()


def test_the_form_of_a_checkpoint_has_a_number_that_goes_up_when_it_changes() -> None:
    """If this fails, raise STATE_FORMAT, and describe the new form here: earlier checkpoints are refused then."""
    found = {}

    def describe(values: dict, name: str) -> None:
        found[name] = set(values)
        for its_name, value in values.items():
            if isinstance(value, dict) and its_name not in PLAIN:
                describe(value, its_name)

    describe(full_state(classes=False).to_dict(), "state")
    lines = [line.split(":") for line in LAYOUTS[RunState.format].split("\n") if ":" in line]
    assert found == {name.strip(): set(names.split()) for name, names in lines}


@pytest.mark.parametrize("version", [None, 1, RunState.format + 1])
def test_a_checkpoint_of_another_form_is_refused_in_one_line_and_stays(tmp_path, version: int | None) -> None:
    with RunFolder(config_of(tmp_path)) as folder:
        folder.begin()
        folder.save({"phase": "halves"}, **({} if version is None else {"version": version}))
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    with (
        pytest.raises(
            InputError, match=r"run was begun by another version of resmfn .*or start again with --over"
        ) as e,
        RunFolder(config_of(tmp_path, resume=True)) as again,
    ):
        again.load(RunState.format)
    assert "\n" not in str(e.value)
    assert before == {path.name: path.read_bytes() for path in folder.path.iterdir()}


# --- records -----------------------------------------------------------------------------------------


def test_the_likeliest_start_is_the_best_whenever_it_comes() -> None:
    maps = [torch.full((2, 2, 2), float(number)) for number in range(3)]
    starts = Starts()
    for volume, likelihood in zip(maps, (1.0, 3.0, 2.0), strict=True):
        starts = starts.with_start(volume, 4.0 + likelihood, likelihood)
    assert starts.log_likelihoods == (1.0, 3.0, 2.0)
    assert torch.equal(torch.stack(starts.maps), torch.stack(maps))
    assert torch.equal(starts.best, maps[1])
    assert starts.radius == 7.0


def test_judging_some_images_leaves_the_others_and_the_record_before() -> None:
    some = torch.tensor([1, 3])
    first = ImageQualities().judged(some, torch.tensor([0.5, 2.0]), torch.tensor([0.0, 0.25]), 4)
    assert first.gain.tolist() == [1.0, 0.5, 1.0, 2.0]
    assert first.good.tolist() == [1.0, 0.0, 1.0, 0.25]
    second = first.judged(torch.tensor([0]), torch.tensor([3.0]), torch.tensor([0.5]), 4)
    assert second.gain.tolist() == [3.0, 0.5, 1.0, 2.0]
    assert first.gain.tolist() == [1.0, 0.5, 1.0, 2.0]


def test_poses_and_copies_of_some_images_leave_the_others_and_the_record_before() -> None:
    state = full_state()
    group, share = torch.eye(3).repeat(2, 1, 1), torch.tensor([[0.25, 0.75]])
    posed = PosedImages(torch.tensor([2]), Poses(torch.eye(3)[None], torch.ones(1, 2)), copies=CopyShares(group, share))
    poses, qualities = state.poses.moved([posed]), state.qualities.with_copies_of([posed], 4)
    changed = torch.tensor([False, False, True, False])
    assert torch.equal((poses.best.shift != state.poses.best.shift).all(dim=1), changed)
    assert torch.equal((qualities.copy_shares != state.qualities.copy_shares).all(dim=1), changed)
    assert torch.equal(poses.best.rotation[2], torch.eye(3))
    assert ImageQualities().with_copies_of([posed], 4).copy_shares.tolist() == [[0, 0], [0, 0], [0.25, 0.75], [0, 0]]
    assert ImageQualities().with_copies_of([PosedImages(posed.index, posed.poses)], 4).copy_shares is None


def test_rows_of_all_that_is_of_images_are_selected_alike() -> None:
    state, rows = full_state(), torch.tensor([3, 1])
    poses, qualities = state.poses.select(rows), state.qualities.select(rows)
    for one, few in (
        (state.poses.best.shift, poses.best.shift),
        (state.poses.candidates.rotation, poses.candidates.rotation),
        (state.poses.max_probability, poses.max_probability),
        (state.poses.entropy, poses.entropy),
        (state.qualities.gain, qualities.gain),
        (state.qualities.good, qualities.good),
        (state.qualities.copy_shares, qualities.copy_shares),
    ):
        assert torch.equal(one[rows], few)
    assert qualities.noise_power is state.qualities.noise_power  # of groups, not of images
    assert PoseEstimates().select(rows) == PoseEstimates()
    assert ImageQualities().select(rows) == ImageQualities()


def test_rounds_at_rest_are_consecutive() -> None:
    agreement = Agreement()
    for rests in (True, True, False, True):
        agreement = agreement.resting(rests)
    assert agreement.rounds_at_rest == 1
    assert agreement.last_resolution == float("inf")
    assert agreement.after(torch.ones(2), 7.0).last_resolution == 7.0
