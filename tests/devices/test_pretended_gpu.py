"""The pretended GPU notices what a real one would."""

import pytest
import torch

from devices.pretended_gpu import PretendedGpu, place_of


def test_devices_follow_the_input():
    with PretendedGpu():
        a = torch.zeros(3, device="cuda")
        assert a.is_cuda
        assert a.device == torch.device("cuda", 0)
        assert (a + 1).is_cuda
        assert a.new_zeros(2).is_cuda
        assert torch.zeros_like(a).is_cuda
        assert not a.cpu().is_cuda
        assert not torch.zeros(3).is_cuda
        assert torch.zeros(3).to(a).is_cuda
        assert torch.zeros(3).to("cuda").is_cuda
        assert torch.nn.Linear(2, 2).to("cuda").weight.is_cuda
        (slope,) = torch.autograd.grad((a.requires_grad_() ** 2).sum(), a)
        assert place_of(slope).type == "cuda"


def test_mixing_is_an_error():
    with PretendedGpu():
        a, b = torch.ones(3, device="cuda"), torch.ones(3)
        for mixed in (lambda: a + b, lambda: torch.cat((a, b)), lambda: a @ b, lambda: a.add_(b)):
            with pytest.raises(RuntimeError, match="same device"):
                mixed()
        with pytest.raises(TypeError, match="numpy"):
            a.numpy()
        assert (a * torch.tensor(2.0)).is_cuda, "numbers may come from anywhere"
        a[torch.tensor([0])] = b[:1]
        assert a.cpu().numpy().sum() == 3
