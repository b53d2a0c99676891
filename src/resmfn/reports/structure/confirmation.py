"""Whether the half maps of a run confirm a resolution and, if not, why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resmfn.core import one_line
from resmfn.data.runs.file_names import CONFIG, HALF_MAPS, SUMMARY, UNMASKED_HALF_MAPS
from resmfn.data.runs.plain_settings import read_settings
from resmfn.evaluation import HalfMapResult
from resmfn.reports.inputs import read_json
from resmfn.reports.tables import angstrom
from resmfn.reports.values import number, words


@dataclass(frozen=True)
class Unconfirmed:
    """Why half maps confirm no resolution."""

    title: str
    text: str

    def line(self) -> str:
        """Return both as one line."""
        return one_line(f"{self.title.lower()}: {self.text}")


def keeps_poses(summary: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Return whether both halves were made at the poses of the input, so that they may share all that these knew."""
    return config.get("poses") == "fixed" or ("resolution_split" in summary and summary["resolution_split"] is None)


def is_noise(summary: Mapping[str, Any]) -> bool:
    """Return whether a run found no structure in its images."""
    return summary.get("structure_found") is False or str(summary.get("verdict", "")).startswith("no structure")


def unconfirmed(
    summary: Mapping[str, Any], config: Mapping[str, Any], resolution: float | None, nyquist: float | None = None
) -> Unconfirmed | None:
    """Return why the agreement of a run's half maps confirms no resolution; None where it does.

    Parameters
    ----------
    summary, config
        What summary.json and config.yaml of the run say.
    resolution
        Å, to which the half maps agree; None if they do not.
    nyquist
        Nyquist of the maps, Å; None if it is not known.
    """
    if summary and is_noise(summary):
        verdict = words(summary, "verdict")
        return Unconfirmed("No structure found", f"{verdict[:1].upper()}{verdict[1:]}. The maps are not a result.")
    if resolution is None:
        if "resolution_half_0143" not in summary:  # it goes on, or has no half maps
            return None
        text = "The half maps agree nowhere. Try more starts, more images or another mask diameter."
        return Unconfirmed("Not resolved", text)
    if keeps_poses(summary, config):
        text = (
            f"The half maps agree to {angstrom(resolution, nyquist)} at the poses of the input, which were kept. Both "
            "halves may share what these were fitted to, noise included, so their agreement confirms no resolution. "
            "--poses from-input starts each half again, from a map that is low-passed."
        )
        return Unconfirmed("Not confirmed", text)
    split = number(summary, "resolution_split")
    if split is not None and not resolution < split:
        text = (
            f"The half maps agree to {resolution:.1f} Å, but they are independent only beyond {split:.1f} Å: "
            "no detail in this map is confirmed independently. Try more starts, more images or another mask diameter."
        )
        return Unconfirmed("Not resolved", text)
    return None


def unconfirmed_halves(first: Path, second: Path, result: HalfMapResult) -> Unconfirmed | None:
    """Return the same of two files, compared, that are the half maps of one run; None where they are others."""
    folder = first.parent
    is_pair = {first.name, second.name} in (set(HALF_MAPS), set(UNMASKED_HALF_MAPS))
    if not is_pair or folder.resolve() != second.parent.resolve() or not (folder / CONFIG).is_file():
        return None
    resolution = result.resolution if math.isfinite(result.resolution) else None
    nyquist = 1 / float(result.curves.corrected.frequency[-1])
    return unconfirmed(read_json(folder / SUMMARY), read_settings(folder / CONFIG), resolution, nyquist)
