"""What a run is said to cost: against runs that were measured, how it grows, and how far a run is said to be."""

import dataclasses

import pytest

from resmfn.reconstruction.run.box_plan import BoxPlan
from resmfn.reconstruction.run.cost_model import Pace, cost_by_box, estimate_cost, machine_pace

# images, first box, last box, CPU seconds, MiB: one thread of an AMD EPYC beside one other program, loops compiled, by
# `bench_check.py --sizes 500x48 2000x64 500x96` on 27 November 2026.
MEASURED = [(500, 48, 48, 17.8, 541), (2_000, 64, 64, 41.7, 727), (500, 64, 96, 37.0, 1_264)]


@pytest.mark.parametrize(("n", "first", "last", "seconds", "mebibytes"), MEASURED)
def test_it_is_near_what_runs_took(n: int, first: int, last: int, seconds: float, mebibytes: float) -> None:
    cost = estimate_cost(n, (first, last), pace=Pace(slices=0.5))
    assert seconds / 1.25 < cost.cpu_seconds < 1.25 * seconds
    assert mebibytes / 1.25 < cost.memory_bytes / 2**20 < 1.25 * mebibytes


def test_starts_and_networks_do_not_grow_with_the_images() -> None:
    few, many = estimate_cost(2_000, 64), estimate_cost(200_000, 64)
    assert (many.search, many.network, many.end) == (few.search, few.network, few.end)
    assert many.focus == pytest.approx(100 * few.focus)
    assert 50 * few.rounds > many.rounds > 10 * few.rounds
    assert many.memory_bytes - few.memory_bytes == pytest.approx(198_000 * (1_000 + 12 * 0.3927 * 64**2), rel=1e-3)


def test_what_is_not_done_costs_nothing() -> None:
    whole = estimate_cost(2_000, 64)
    assert estimate_cost(2_000, 64, shift_range=0.0).search < whole.search
    assert estimate_cost(2_000, 64, n_starts=8).search == pytest.approx(2 * whole.search)
    assert estimate_cost(2_000, 64, network_steps=15).network == pytest.approx(whole.network / 2)
    known = estimate_cost(2_000, 64, searches=False)
    assert (known.search, known.rounds) == (0.0, whole.rounds)


def test_a_refined_defocus_more_than_doubles_the_rounds_and_nothing_else() -> None:
    """What it adds is not of the loops that are compiled, so the same."""
    usual = estimate_cost(2_000, 64)
    refined = usual.refining_defocus()
    assert (refined.rounds, refined.joint) == (2.4 * usual.rounds, 2.4 * usual.joint)
    assert refined.cpu_seconds - usual.cpu_seconds == pytest.approx(1.4 * (usual.rounds + usual.joint))
    compiled = usual.refining_defocus(Pace(slices=0.5))
    assert compiled.rounds == pytest.approx(3.8 * usual.rounds)


def test_a_slower_machine_takes_longer_and_no_more_memory() -> None:
    usual, slow = estimate_cost(2_000, 64), estimate_cost(2_000, 64, pace=Pace(2.0, 3.0))
    assert (slow.search / usual.search, slow.rounds / usual.rounds) == pytest.approx((2.0, 3.0))
    assert slow.memory_bytes == usual.memory_bytes
    measured = machine_pace()
    assert 0.02 < measured.products < 50
    assert 0.02 < measured.passes < 50


def test_shares_run_from_reading_to_1_by_the_time_that_phases_take() -> None:
    cost = dataclasses.replace(
        estimate_cost(2_000, 64), reading=1, search=2, focus=1, rounds=3, joint=1, network=1, end=1
    )
    found = [cost.share(done) for done in (0.0, 0.1, 0.2, 0.3, 0.55, 0.8, 0.9425, 0.99, 1.0)]
    assert found == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.55, 0.7, 0.8, 0.9, 1.0])


def test_a_run_costs_more_the_larger_the_box_that_it_ends_in_and_reads_its_images_once_for_each() -> None:
    costs = cost_by_box(2_000, BoxPlan.by_default(256))
    assert list(costs) == [64, 96, 144, 256]
    start_up = estimate_cost(0, 64).reading
    once = costs[64].reading - start_up
    assert [cost.reading - start_up for cost in costs.values()] == pytest.approx([once, 2 * once, 3 * once, 4 * once])
    for smaller, larger in zip(costs.values(), list(costs.values())[1:], strict=False):
        assert larger.cpu_seconds > smaller.cpu_seconds
        assert larger.memory_bytes > smaller.memory_bytes
    assert costs[256].rounds == estimate_cost(2_000, (64, 256)).rounds
    # Most rounds of a box that grows are in smaller ones.
    assert costs[256].rounds < 0.65 * estimate_cost(2_000, 256).rounds
    assert cost_by_box(2_000, BoxPlan.by_default(64)) == {64: estimate_cost(2_000, 64)}
