"""``resmfn deposit``: flags, and what was gathered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def deposit(
    run: Annotated[Path, Parameter(help="Finished run, or the folder of one of its classes.")],
    *,
    out: Annotated[Path, Parameter(help="Folder to make.")],
) -> None:
    """Gather what EMDB asks for with a map: primary map, half maps, mask, FSC, picture, values and methods.

    methods.txt says what the run does not know, the hand among it. Nothing is sent anywhere.
    """
    from resmfn.reports.exports.deposit import deposit as gather

    written = gather(run, out)
    print(written.text)
    print(f"{written.folder}: written; contour level {written.contour:.5g}")
