"""Every error of the package can be caught as one, and still is the ValueError that Python users expect."""

import pytest

from resmfn.core import InputError, ResmfnError, ShapeError


@pytest.mark.parametrize("error", [InputError, ShapeError])
def test_errors_share_one_base(error: type[ResmfnError]) -> None:
    assert issubclass(error, ResmfnError)
    assert issubclass(error, ValueError)
