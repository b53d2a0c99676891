"""``resmfn fit-image``: its flags are the fields of ImageFitConfig; progress, the table, what was written."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from cyclopts import Group, Parameter

from resmfn.cli.fitting import report_on
from resmfn.cli.terminal import OwnFlagsFirst
from resmfn.fitting.config import ImageFitConfig

_OWN = ("--out", "--sources", "--dataset", "--just-one", "--crop", "--figures")
_FLAGS = Group("Flags", help_formatter=OwnFlagsFirst(*_OWN))


def fit_image(
    *source: Annotated[str, Parameter(help="Image files, folders, .npz sets, or built-in sets (docs/fit-image.md).")],
    config: Annotated[ImageFitConfig, Parameter(name="*", negative_iterable=(), group=_FLAGS)],
    figures: Annotated[
        bool, Parameter(group=_FLAGS, help="Draw images and spectra of every scale (scales.png).")
    ] = True,
) -> None:
    """Fit a band-limited field to each image, coarse to fine, at half resolution; test it at full resolution.

    RUN/table.md and summary.json hold the figures, RUN/fields the fitted fields (docs/fit-image.md).
    """
    from resmfn.fitting import fit_image as run

    report_on(run, replace(config, sources=(*source, *config.sources)), figures=figures)
