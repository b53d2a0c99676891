"""A limit on a GPU's memory is not taken in silence where there is no GPU."""

import pytest
import torch

from resmfn.core import InputError
from resmfn.core.device import limit_gpu_memory, peak_gpu_memory


def test_a_limit_needs_a_gpu() -> None:
    with pytest.raises(InputError, match="--gpu-memory 8 limits a GPU, and the run is on the CPU; leave it out"):
        limit_gpu_memory(torch.device("cpu"), 8)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_without_a_gpu_none_of_its_memory_was_taken() -> None:
    assert peak_gpu_memory() == 0
