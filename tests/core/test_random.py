"""Streams of random numbers: repeatable, and independent of each other."""

import subprocess
import sys

import pytest
import torch

from resmfn.core import make_generator, spawn


def draw(generator: torch.Generator) -> torch.Tensor:
    return torch.rand(100, generator=generator, dtype=torch.float64)


def test_the_same_seed_gives_the_same_numbers() -> None:
    torch.testing.assert_close(draw(make_generator(7)), draw(make_generator(7)), rtol=0, atol=0)
    assert not torch.equal(draw(make_generator(7)), draw(make_generator(8)))


def test_spawn_is_repeatable_across_processes() -> None:
    code = "from resmfn.core import spawn; import torch; print(torch.rand(1, generator=spawn(3, 'noise', 1)).item())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(result.stdout) == torch.rand(1, generator=spawn(3, "noise", 1)).item()


@pytest.mark.parametrize("other", [(3, "noise", 2), (4, "noise", 1), (3, "poses", 1), (3, "noise", "1"), (3, "noise1")])
def test_streams_of_other_names_and_seeds_differ(other: tuple[int, str]) -> None:
    one, two = draw(spawn(3, "noise", 1)), draw(spawn(*other))
    assert torch.corrcoef(torch.stack((one, two)))[0, 1].abs() < 0.4


def test_importing_the_errors_does_not_import_torch() -> None:
    code = "import sys; import resmfn.core; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
