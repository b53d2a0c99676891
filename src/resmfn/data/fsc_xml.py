"""Fourier shell correlations in the XML format of EMDB depositions, as RELION's postprocessing writes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from resmfn.core import atomic_write
from resmfn.core.errors import one_line


def write_fsc_xml(
    path: str | os.PathLike[str], frequency: Sequence[float], correlation: Sequence[float], title: str
) -> None:
    """Write a curve, atomically.

    Parameters
    ----------
    path
        The .xml file; an existing one is replaced.
    frequency
        (n,) in 1/Å.
    correlation
        (n,) values.
    title
        What the curve is; letters that XML cannot hold become spaces.
    """
    lines = [f'<fsc title={quoteattr(one_line(title))} xaxis="Resolution (A-1)" yaxis="Correlation Coefficient">']
    for x, y in zip(frequency, correlation, strict=True):
        lines += ["  <coordinate>", f"    <x>{x:.6f}</x>", f"    <y>{y:.6f}</y>", "  </coordinate>"]
    with atomic_write(Path(path)) as temporary:
        temporary.write_text("\n".join([*lines, "</fsc>", ""]), encoding="utf-8")
