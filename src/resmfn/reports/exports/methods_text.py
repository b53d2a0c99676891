"""What to write into the form of a deposition, and a paragraph on methods: from the files of a run alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from resmfn.core import one_line
from resmfn.data import ParticleSet
from resmfn.reports.html.text import plain
from resmfn.reports.structure.confirmation import keeps_poses, unconfirmed
from resmfn.reports.values import as_number, entry, listed, number, words

_WIDTH = 24
TO_ADD = (
    "Not known to the run, to be added by hand: sample, sequence and its source, specimen preparation and "
    "vitrification, microscope, detector, dose and exposure, picking and the software of all steps before."
)


@dataclass(frozen=True)
class Deposited:
    """What the text speaks of."""

    summary: Mapping[str, Any]
    validation: Mapping[str, Any]
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    particles: ParticleSet
    contour: float
    half_contour: float
    symmetry: Mapping[str, Any] = field(default_factory=dict)
    """What symmetry.json says; empty where the map was not looked at."""
    class_of: str = ""
    """Which class of which run; empty where the run has one structure."""


def methods_text(of: Deposited) -> str:
    """Return the text of methods.txt."""
    rows = [*_map_rows(of), *_result_rows(of), *_data_rows(of), *_software_rows(of)]
    lines = ["VALUES FOR THE FORM", ""]
    lines += [f"{name:<{_WIDTH}}{one_line(value)}" for name, value in rows]
    return "\n".join([*lines, "", "METHODS", "", one_line(_paragraph(of)), "", TO_ADD, ""])


def _map_rows(of: Deposited) -> list[tuple[str, str]]:
    summary, validation = of.summary, of.validation
    box, pixel = plain(summary.get("box_size")), plain(summary.get("pixel_size"))
    return [
        ("Primary map", f"primary_map.mrc: {_primary(of)}"),
        ("Voxels", f"{box} a side, of {pixel} Å along x, y and z"),
        (
            "Contour level",
            f"{of.contour:.5g} (recommended: at most 1 % of the voxels above it should be noise)",
        ),
        (
            "Half maps",
            "half_map_1.mrc, half_map_2.mrc: unmasked, unfiltered, not sharpened; they superimpose",
        ),
        ("  contour level", f"{of.half_contour:.5g} (encloses as much as the primary map's)"),
        ("Mask", "mask.mrc: soft, 0 to 1; of the FSC and of the primary map"),
        ("FSC", "fsc.xml: masked, corrected for the mask by phase randomization"),
        ("Image", "image.png: the primary map at the contour level, seen along z"),
        ("B-factor", f"{_figure(validation.get('b_factor_undone'), 1)} Å² undone"),
    ]


def _primary(of: Deposited) -> str:
    text = "mean of the half maps, weighted by its FSC, sharpened"
    resolution = number(of.summary, "resolution_half_0143")
    return f"{text}, masked" if resolution is None else f"{text}, filtered at {resolution:.2f} Å, masked"


def _result_rows(of: Deposited) -> list[tuple[str, str]]:
    summary = of.summary
    local, direction = (entry(of.validation, name) for name in ("local_resolution", "directional_resolution"))
    confirms = _confirms_resolution(of)  # where halves may share noise, parts of them may as well
    local, direction = (found if confirms and isinstance(found, Mapping) else {} for found in (local, direction))
    rows = [("Resolution", _resolution(of))]
    if number(local, "median") is not None:
        ends = f"{_figure(local.get('p05'), 2)} to {_figure(local.get('p95'), 2)} Å"
        rows.append(
            ("Local resolution", f"median {_figure(local.get('median'), 2)} Å, {ends} (5 to 95 % of the voxels)")
        )
    if number(direction, "worst") is not None:
        best, worst = (_figure(direction.get(name), 2) for name in ("best", "worst"))
        ends = f"{best} Å in the best direction, {worst} Å in the worst"
        rows.append(("By direction", f"{ends}; sphericity {_figure(direction.get('sphericity'), 3)}"))
    rows += [("Symmetry", _symmetry(of)), ("Hand", _hand(of))]
    rows.append(("Verdict of the run", words(summary, "verdict", default="none")))
    rows += [("Warning of the run", str(text)) for text in listed(summary, "warnings")]
    return rows


def _confirms_resolution(of: Deposited) -> bool:
    resolution = number(of.summary, "resolution_half_0143")
    return of.summary.get("resolved") is not False and unconfirmed(of.summary, of.settings, resolution) is None


def _resolution(of: Deposited) -> str:
    if keeps_poses(of.summary, of.settings):
        return "NONE CAN BE CLAIMED: both half maps were made at the poses of the input and may share their errors"
    if number(of.summary, "resolution_half_0143") is None:
        return "NONE CAN BE CLAIMED: the half maps agree nowhere"
    if not _confirms_resolution(of):
        split = _figure(of.summary.get("resolution_split"), 2)
        return f"NONE CAN BE CLAIMED: half maps agree no further than they were made alike ({split} Å)"
    found = _figure(of.summary.get("resolution_half_0143"), 2)
    pixel = number(of.summary, "pixel_size") or 0.0
    limit = "; that is Nyquist" if (number(of.summary, "resolution_half_0143") or 0.0) <= 2.02 * pixel else ""
    return f"{found} Å: FSC 0.143 between independent half maps, corrected for the mask{limit}"


def _symmetry(of: Deposited) -> str:
    group = words(of.summary, "symmetry", default="C1")
    if group == "C1":
        relaxed, shown = words(of.summary, "relax_symmetry"), words(of.symmetry, "group", "name")
        text = "C1: none imposed"
        if relaxed:
            text += f"; {relaxed} was relaxed: of the poses that it makes alike, each image has one"
        if shown and entry(of.symmetry, "is_decidable") is not False:
            return f"{text}; the map was looked at and shows {shown} (symmetry.json)"
        return text if relaxed else f"{text}, and none looked for here"
    return f"{group}: imposed in both half maps, so that the map cannot be evidence of it"


def _hand(of: Deposited) -> str:
    shown = "this is the one that the run found, by chance"
    if of.summary.get("hand") == "as given":
        shown = "this is that of the poses or the reference that the run was given"
    if of.summary.get("flipped") is True:
        shown = "this is the mirror image of the one that the run found (--flip-hand)"
    return f"NOT DETERMINED: projections do not tell a map from its mirror image; {shown}. Check it before depositing"


def _data_rows(of: Deposited) -> list[tuple[str, str]]:
    n, bad = number(of.summary, "n_particles") or 0, number(of.summary, "n_bad") or 0
    side, pixel = plain(of.summary.get("image_box_size")), plain(of.summary.get("image_pixel_size"))
    less = f"; {bad:,.0f} of them look like noise and count little" if bad else ""
    rows = [("Class", of.class_of)] if of.class_of else []
    rows += [("Particles", f"{n:,.0f}{less}"), ("Particle images", f"{side} x {side} pixels of {pixel} Å")]
    optics = of.particles.optics
    if optics is None:
        return [*rows, ("CTF", "none: the particle file has no defocus")]
    defocus = (optics.defocus_u + optics.defocus_v).double() / 2e4
    return [
        *rows,
        ("Voltage", f"{_distinct(optics.voltage.numpy())} kV"),
        ("Spherical aberration", f"{_distinct(optics.spherical_aberration.numpy())} mm"),
        ("Amplitude contrast", _distinct(optics.amplitude_contrast.numpy())),
        ("Defocus", f"{float(defocus.min()):.2f} to {float(defocus.max()):.2f} µm (underfocus)"),
    ]


def _figure(value: object, digits: int) -> str:
    found = as_number(value)
    return "not known" if found is None else f"{found:.{digits}f}"


def _distinct(values: np.ndarray) -> str:
    return ", ".join(f"{value:.4g}" for value in np.unique(values.round(4)).tolist())


def _software_rows(of: Deposited) -> list[tuple[str, str]]:
    made = of.provenance
    versions = ", ".join(
        f"{name} {plain(made.get(name))}" for name in ("resmfn", "torch", "numpy", "python") if made.get(name)
    )
    return [
        ("Software", versions or "not recorded"),
        ("Command", words(made, "command", default="not recorded")),
        ("Random seed", plain(of.settings.get("seed"))),
    ]


def _paragraph(of: Deposited) -> str:
    summary, settings = of.summary, of.settings
    n = number(summary, "n_particles") or 0
    version = words(of.provenance, "resmfn", default="of a version that was not recorded")
    b_factor = _figure(of.validation.get("b_factor_undone"), 1)
    parts = [
        f"{n:,.0f} particle images were reconstructed with resmfn {version}.",
        *([f"They are those of class {of.class_of}."] if of.class_of else []),
        *_classes(settings),
        _poses(settings),
        _independence(of),
        "Both half maps were solved without mask; by their FSC at 0.143, corrected for the mask by phase randomization "
        f"(Chen et al. 2013), the resolution is {_stated_resolution(of)}.",
        f"The primary map is the {_primary(of)}; a B-factor of {b_factor} Å² was undone (Rosenthal, Henderson 2003).",
        f"Point group {words(summary, 'symmetry', default='C1')} was used. The hand was not determined.",
    ]
    return " ".join(parts)


def _classes(settings: Mapping[str, Any]) -> list[str]:
    if settings.get("classes_from") is None:
        return []
    numbers = " and ".join(part.strip() for part in str(settings.get("classes")).split(","))
    return [f"They are those of class {numbers} of an earlier classification, whose half sets they kept."]


def _independence(of: Deposited) -> str:
    if keeps_poses(of.summary, of.settings):
        return "The half sets share these poses, and so possibly what they were fitted to, at any resolution."
    return f"The half sets were independent beyond {_figure(of.summary.get('resolution_split'), 2)} Å."


def _poses(settings: Mapping[str, Any]) -> str:
    reference = settings.get("reference")
    source = settings.get("poses")
    if source == "fixed":
        return "Poses were taken from the particle file and not changed."
    refined = "then refined against the map of each image's own half set."
    if source == "from-input":
        return (
            "Poses started from those of the particle file, turned at random by as much as makes half sets forget "
            f"finer detail than they are said to share, {refined}"
        )
    if reference is not None:
        name, limit = Path(str(reference)).name, plain(settings.get("ini_high"))
        return f"Poses were searched exhaustively from the map {name}, filtered at {limit} Å, {refined}"
    return f"Poses were searched exhaustively from random starts, without a starting model, {refined}"


def _stated_resolution(of: Deposited) -> str:
    if not _confirms_resolution(of):
        return "not to be told"
    return f"{_figure(of.summary.get('resolution_half_0143'), 2)} Å"
