"""A run keeps to its memory by ending in a smaller box, or is refused by how much is missing."""

from pathlib import Path

import pytest

from resmfn.core import InputError
from resmfn.reconstruction import ReconstructionConfig
from resmfn.reconstruction.images.working_box import WorkingBox
from resmfn.reconstruction.run.box_plan import BoxPlan
from resmfn.reconstruction.run.cost_model import memory_needed
from resmfn.reconstruction.run.memory_plan import within_memory

N, SIZE, GIB = 50_000, 256, 2**30
BOX = WorkingBox(SIZE, 1.5)


def planned(memory: float | None, n_processes: int = 1, **settings: object) -> tuple[BoxPlan, str | None]:
    config = ReconstructionConfig(particles=Path("a.star"), out=Path("run"), memory=memory, **settings)
    return within_memory(config, BoxPlan.of(config, BOX, 9.0), BOX, N, n_processes)


def test_no_limit_and_one_that_is_not_reached_change_nothing() -> None:
    whole = BoxPlan.by_default(SIZE)
    for memory in (None, 1.01 * memory_needed(N, SIZE) / GIB):
        assert planned(memory) == (whole, None)


def test_the_memory_of_a_gpu_limits_the_box_as_well_and_the_smaller_limit_counts() -> None:
    enough = 1.01 * memory_needed(N, 108, 1, SIZE) / GIB
    of_gpu, line = planned(None, gpu_memory=enough)
    assert 64 < of_gpu.largest < planned(enough)[0].largest == 108  # maps take more there
    assert line is not None
    assert line.startswith(f"--gpu-memory {enough:g} holds")
    assert planned(100.0, gpu_memory=enough)[0] == of_gpu
    assert planned(enough, gpu_memory=100.0)[0] == planned(enough)[0]
    assert planned(enough, gpu_memory=1.05 * enough)[0] == planned(None, gpu_memory=1.05 * enough)[0]
    with pytest.raises(InputError, match="--gpu-memory 0.5: .* or fewer images, or more processes"):
        planned(None, gpu_memory=0.5)


@pytest.mark.parametrize("size", [64, 96, 144])
def test_the_largest_box_that_fits_is_the_last(size: int) -> None:
    plan, line = planned(1.01 * memory_needed(N, size, 1, SIZE) / GIB)
    assert (plan.first, plan.largest, plan.radius) == (64, size, size // 2 - 2)
    assert planned(1.3 * memory_needed(N, size, 1, SIZE) / GIB)[0].largest > size
    assert plan.holding(1000) == size
    assert plan.is_limited
    assert f"in a box of {size}" in str(line)
    assert f"to {BOX.side / plan.radius:.1f} Å" in str(line)


def test_the_limit_is_that_of_all_processes_together() -> None:
    """They share the images; each has the program and maps of its own, one of them the network."""
    one, two, four = (memory_needed(N, 144, n, SIZE) / GIB for n in (1, 2, 4))
    assert two > one
    assert four - two == pytest.approx(2 * (two - one))
    assert two < 2 * one - 1.5  # GiB of images
    assert planned(None, n_processes=2, gpu_memory=two)[0].largest > planned(None, gpu_memory=two)[0].largest
    assert planned(1.01 * two)[0].largest > planned(1.01 * two, n_processes=2)[0].largest == 144
    with pytest.raises(InputError, match="or fewer images, or --processes 1, not 2"):
        planned(0.5, n_processes=2)


def test_each_class_takes_memory_of_its_own() -> None:
    one, four = (memory_needed(N, 144, 1, SIZE, n) / GIB for n in (1, 4))
    assert four - one == pytest.approx(3 * (20 * 144**3 + 200 * N) / GIB)
    assert planned(1.01 * one, n_classes=4)[0].largest < planned(1.01 * one)[0].largest
    assert planned(1.01 * four, n_classes=4)[0].largest == 144
    assert planned(1.01 * four, n_classes="auto")[0] == planned(1.01 * four, n_classes=16)[0]


def test_what_does_not_fit_is_refused_by_how_much() -> None:
    least = memory_needed(N, 64, 1, SIZE) / GIB
    with pytest.raises(InputError, match=rf"--memory 0.5: 50000 images in a box of 64 need about {least:.1f} GiB, "):
        planned(0.5)


@pytest.mark.parametrize("asked", [{"final_resolution": 3.5}, {"box_size": 256}])
def test_a_box_that_was_asked_for_is_not_made_smaller(asked: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"--memory 2: 50000 images in a box of 2\d\d need about .* GiB more"):
        planned(2.0, **asked)
    assert planned(100.0, **asked)[1] is None
