"""``resmfn fit-volume``: its flags are the fields of VolumeFitSettings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from resmfn.cli.fitting import report_on
from resmfn.cli.terminal import OwnFlagsFirst
from resmfn.fitting.config import VolumeFitConfig, VolumeFitSettings

_FLAGS = Group("Flags", help_formatter=OwnFlagsFirst("--map", "--out", "--downsample", "--pixel-size", "--figures"))


def fit_volume(
    map: Annotated[Path, Parameter(help="The map: .mrc or .map, also compressed.")],
    *,
    settings: Annotated[VolumeFitSettings, Parameter(name="*", negative_iterable=(), group=_FLAGS)],
    figures: Annotated[
        bool, Parameter(group=_FLAGS, help="Draw sections and spectra of every scale (scales.png).")
    ] = True,
) -> None:
    """Fit a band-limited field to a density map, coarse to fine, at half resolution; test it at full resolution.

    RUN/fields holds the field and a map of every scale, RUN/summary.json the figures (docs/fit-image.md).
    """
    from resmfn.fitting import fit_volume as run

    report_on(run, VolumeFitConfig(map, **vars(settings)), figures=figures)
