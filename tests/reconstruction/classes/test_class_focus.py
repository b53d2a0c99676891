"""From the maps of the branches to a state of each class."""

import torch

from resmfn.reconstruction.classes.focus import LEAST_ASKED, held_out_of_class
from resmfn.reconstruction.run.held_out import N_HELD_OUT


def test_a_rare_class_of_a_large_set_is_asked_by_images_that_are_in_no_map() -> None:
    """Of 10,000 images 4,000 are in maps; of the 1,000 that decide how many classes there are, three show this one."""
    in_no_map = torch.cat((torch.arange(1000), torch.arange(5000, 10_000)))
    left_out, of_class = torch.tensor([10, 20, 30]), torch.arange(0, 10_000, 250)
    asked = held_out_of_class(left_out, of_class, in_no_map)
    assert asked[:3].tolist() == [10, 20, 30]
    assert asked[3:].tolist() == [*range(0, 1000, 250), *range(5000, 10_000, 250)]
    assert len(held_out_of_class(left_out, torch.arange(10_000), in_no_map)) == N_HELD_OUT


def test_a_class_of_enough_images_is_asked_by_those_that_decided_alone() -> None:
    left_out = torch.arange(LEAST_ASKED)
    assert torch.equal(held_out_of_class(left_out, torch.arange(100), torch.arange(100)), left_out)
    assert len(held_out_of_class(torch.arange(3), torch.arange(100), torch.arange(3))) == 3  # a small set has no more
