"""Which boxes a run may work in: none larger than needed, none larger than the images."""

from pathlib import Path

import pytest

from resmfn.core import InputError
from resmfn.reconstruction import ReconstructionConfig
from resmfn.reconstruction.images.working_box import WorkingBox
from resmfn.reconstruction.run.box_plan import ROOM, SIZES, BoxPlan


def planned(size: int, first_radius: float, pixel_size: float = 1.0, **settings: object) -> BoxPlan:
    config = ReconstructionConfig(particles=Path("a.star"), out=Path("run"), **settings)
    return BoxPlan.of(config, WorkingBox(size, pixel_size), first_radius)


@pytest.mark.parametrize("size", [16, 31, 64, 72, 80])
def test_small_images_have_one_box_their_own(size: int) -> None:
    plan = planned(size, 4.0)
    assert (plan.first, plan.largest, plan.radius) == (size, size, (size - 1) // 2)
    assert plan.radius_of(size) == plan.radius


@pytest.mark.parametrize("size", [96, 128, 181, 256, 360, 1024])
def test_every_radius_has_the_smallest_box_that_holds_it(size: int) -> None:
    plan = planned(size, 9.0)
    assert (plan.first, plan.largest) == (SIZES[0], size)
    boxes = [plan.holding(radius) for radius in range(plan.radius + 1)]
    assert boxes == sorted(boxes)
    assert boxes[-1] == size
    for radius, box in enumerate(boxes):
        assert plan.radius_of(box) >= radius
        assert box == size or (box in SIZES and box // 2 - radius >= ROOM)
    assert size > 400 or len(set(boxes)) <= 5  # so often are images read
    assert all(b <= 1.78 * a for a, b in zip(sorted(set(boxes)), sorted(set(boxes))[1:], strict=False))


def test_a_narrow_mask_and_given_poses_begin_in_a_larger_box() -> None:
    assert planned(256, 31.0).first == SIZES[1]
    assert planned(256, float("inf")).first == 256


def test_a_box_that_is_asked_for_stays() -> None:
    assert planned(128, 9.0, box_size=128) == BoxPlan.fixed(128)


def test_a_final_resolution_ends_the_growth() -> None:
    plan = planned(256, 9.0, pixel_size=1.5, final_resolution=6.0)
    assert plan.radius == 64
    assert plan.radius_of(plan.largest) == 64
    assert 2 * (64 + ROOM) <= plan.largest <= 1.1 * 2 * (64 + ROOM)
    assert planned(256, 9.0, pixel_size=1.5, final_resolution=3.0).radius == 127
    assert planned(256, 9.0, pixel_size=1.5, final_resolution=96.0).radius == 4
    with pytest.raises(InputError, match="must be finer than a quarter of the images' side, 96 Å, got 97"):
        planned(256, 9.0, pixel_size=1.5, final_resolution=97.0)
    with pytest.raises(InputError, match="--final-resolution must be at least two pixels, 3 Å, got 2.5"):
        planned(256, 9.0, pixel_size=1.5, final_resolution=2.5)
    with pytest.raises(InputError, match="--box-size keeps one box"):
        planned(256, 9.0, box_size=128, final_resolution=8.0)


def test_a_run_that_has_reached_more_than_memory_allows_is_not_continued() -> None:
    plan = BoxPlan.by_default(256)
    plan.require_reached(256, Path("run"))
    with pytest.raises(InputError, match="run has reached a box of 144, and --memory allows one of 96"):
        plan.up_to(96).require_reached(144, Path("run"))
