"""What the classes of a round share: the noise of the images."""

from dataclasses import replace

import torch

from resmfn.reconstruction.phases.halves import mean_by_images, mean_residual
from resmfn.reconstruction.phases.rounds import UNMOVED


def test_noise_of_a_group_is_what_the_classes_that_have_its_images_leave() -> None:
    """Two data sets, each an optics group with a species of its own: neither knows the noise of the other."""
    of_first, of_second = torch.tensor([[1.1, 1.2], [0, 0]]), torch.tensor([[0, 0], [0.9, 0.8]])
    weights = torch.tensor([[900.0, 0.0], [3.0, 100.0]])  # some images hardly show the second: no candidates of it
    found = mean_by_images(torch.stack((of_first, of_second)), weights)
    torch.testing.assert_close(found, of_first + of_second)


def test_classes_count_by_their_images_of_a_group() -> None:
    residuals = torch.tensor([[[1.0], [1.0]], [[2.0], [2.0]]])
    found = mean_by_images(residuals, torch.tensor([[30.0, 10.0], [10.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[1.25], [1.0]]))


def test_noise_of_a_group_that_one_half_alone_has_is_not_halved() -> None:
    first, second = torch.tensor([[1.0, 1.2], [0.8, 0.9]]), torch.tensor([[2.0, 1.4], [0.0, 0.0]])
    reports = [replace(UNMOVED, residual_power=power) for power in (first, second)]
    found = mean_residual(reports, torch.tensor([[50.0, 20.0], [50.0, 20.0]]))
    torch.testing.assert_close(found, torch.tensor([[1.5, 1.3], [0.8, 0.9]]))
    uneven = mean_residual(reports, torch.tensor([[90.0, 20.0], [10.0, 0.0]]))
    torch.testing.assert_close(uneven, torch.tensor([[1.1, 1.22], [0.8, 0.9]]))
