"""Steps without torch's optimizer, and the same as its to the last bit."""

import subprocess
import sys

import torch

from reconstruction.test_resume import ENVIRONMENT
from resmfn.core import make_generator
from resmfn.networks.adam import BETAS, Adam


def test_steps_are_those_of_torch() -> None:
    generator = make_generator(3)
    start = [torch.randn(shape, generator=generator) for shape in ((33, 7), (5,), (1,))]
    mine, theirs = ([p.clone().requires_grad_() for p in start] for _ in range(2))
    adam, reference = Adam(mine), torch.optim.Adam(theirs, betas=BETAS)
    for step in range(12):
        rate = 0.1 / (1 + step)
        adam.forget_gradients()
        reference.zero_grad()
        for parameters in (mine, theirs):
            sum((p - 1).pow(4).sum() for p in parameters).backward()
        adam.step(rate)
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()
        assert all(torch.equal(p, q) for p, q in zip(mine, theirs, strict=True))
    assert not torch.equal(mine[0], start[0])


def test_a_network_is_drawn_and_fitted_without_the_compiler() -> None:
    program = (
        "import sys, torch\n"
        "from reconstruction.maps.test_network_map import draw, problem\n"
        "draw(8).fit(*problem(), steps=1)\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=ENVIRONMENT)
