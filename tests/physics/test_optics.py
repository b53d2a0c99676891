"""The record of optics."""

import pytest
import torch

from resmfn.core import ShapeError
from resmfn.physics import Optics

ALWAYS = [name for name, value in vars(Optics.uniform(1)).items() if value is not None]


def test_uniform_optics_have_no_astigmatism() -> None:
    optics = Optics.uniform(3, defocus=12000.0, voltage=200.0, dtype=torch.float64)
    assert len(optics) == 3
    assert optics.defocus_u.tolist() == optics.defocus_v.tolist() == [12000.0] * 3
    assert optics.voltage.tolist() == [200.0] * 3
    assert optics.phase_shift.dtype == torch.float64


@pytest.mark.parametrize("index", [slice(1, 3), torch.tensor([1, 2]), torch.tensor([False, True, True, False])])
def test_select_takes_the_same_images_of_every_field(index: slice | torch.Tensor) -> None:
    fields = {name: torch.arange(4.0) + 10 * i for i, name in enumerate(ALWAYS)}
    selected = Optics(**fields).select(index)
    for i, name in enumerate(fields):
        assert getattr(selected, name).tolist() == [1.0 + 10 * i, 2.0 + 10 * i]


def test_to_changes_every_field() -> None:
    doubles = Optics.uniform(2).to(dtype=torch.float64)
    assert {getattr(doubles, name).dtype for name in ALWAYS} == {torch.float64}
    assert {getattr(doubles.to("cpu"), name).dtype for name in ALWAYS} == {torch.float64}


@pytest.mark.parametrize("shape", [(3,), (), (2, 1)])
def test_fields_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    fields = vars(Optics.uniform(2)) | {"voltage": torch.zeros(shape)}
    with pytest.raises(ShapeError, match="all optics must be 1-D and of one length"):
        Optics(**fields)


@pytest.mark.parametrize(
    ("field", "shape"), [("scale", (3,)), ("odd_aberration", (2,)), ("magnification", (2, 2, 3)), ("premultiplied", ())]
)
def test_further_fields_of_other_shapes_are_refused(field: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="must"):
        Optics(**vars(Optics.uniform(2)) | {field: torch.zeros(shape)})
