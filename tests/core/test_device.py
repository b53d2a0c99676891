"""A limit on a GPU's memory is not taken in silence where there is no GPU."""

import pytest
import torch

from resmfn.core import InputError
from resmfn.core.device import limit_gpu_memory, peak_gpu_memory


def test_a_limit_needs_a_gpu() -> None:
    with pytest.raises(InputError, match="--gpu-memory 8 limits a GPU, and the run is on the CPU; leave it out"):
        limit_gpu_memory(torch.device("cpu"), 8)


def test_a_run_that_used_no_gpu_took_none_of_its_memory(monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: False)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: 7)
    assert peak_gpu_memory() == 0
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    assert peak_gpu_memory() == 7
