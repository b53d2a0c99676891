"""The same numbers on a GPU as on a CPU."""

import pytest
import torch

from resmfn.core import make_generator
from resmfn.physics import FourierSliceProjector, ImageFormation, Optics, insert_slices
from resmfn.rotations import concentrated_rotations, random_rotations, super_fibonacci

pytestmark = pytest.mark.cuda

DOUBLE = torch.float64


def test_images_and_gradients_agree_with_the_cpu(generator: torch.Generator) -> None:
    form = ImageFormation(FourierSliceProjector(32), 1.5)
    inputs = [
        torch.randn(32, 32, 32, generator=generator, dtype=DOUBLE),
        random_rotations(6, generator=generator, dtype=DOUBLE),
        torch.randn(6, 2, generator=generator, dtype=DOUBLE),
    ]
    results = []
    for device in ("cpu", "cuda"):
        moved = [x.to(device).requires_grad_() for x in inputs]
        images = form(*moved, Optics.uniform(6, dtype=DOUBLE, device=device))
        assert images.device.type == device
        results.append([x.cpu() for x in (images, *torch.autograd.grad(images.square().sum(), moved))])
    for cpu, gpu in zip(*results, strict=True):
        torch.testing.assert_close(cpu, gpu)


def test_insertion_agrees_with_the_cpu(generator: torch.Generator) -> None:
    pixels = FourierSliceProjector(16).pixels
    values = torch.randn(9, len(pixels), generator=generator, dtype=torch.complex128)
    rotation = random_rotations(9, generator=generator, dtype=DOUBLE)
    on_gpu = insert_slices(values.cuda(), rotation.cuda(), pixels.cuda(), 32)
    torch.testing.assert_close(on_gpu.cpu(), insert_slices(values, rotation, pixels, 32))


def test_rotations_are_drawn_where_the_generator_lives() -> None:
    generator = make_generator(0, "cuda")
    assert random_rotations(5, generator=generator).is_cuda
    assert concentrated_rotations(5, 3.0, generator=generator).is_cuda
    torch.testing.assert_close(super_fibonacci(9, device="cuda").cpu(), super_fibonacci(9))
