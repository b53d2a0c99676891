"""What to know before trusting a map: the figures of a run in plain words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from resmfn.core import ResmfnError
from resmfn.evaluation import ViewCoverage, symmetric_copies, view_coverage
from resmfn.evaluation.starts import starts_with_another_map
from resmfn.reports.run_record import RunRecord
from resmfn.reports.structure.confirmation import unconfirmed
from resmfn.reports.tables import angstrom, is_nyquist
from resmfn.reports.values import entry, listed, number, numbers, words
from resmfn.rotations import point_group

Level = Literal["warning", "note", "good"]
FEW_PARTICLES = 1000  # for a warning; no comparison recorded
SPARSE_SHARE, DENSE_VIEWS = 0.25, 4.0
"""Share of the sphere below half of the uniform density, and highest density of views: beyond either, some
views prevail."""
AT_THE_EDGE, EDGE_SHARE = 0.95, 0.05
"""Shifts beyond this share of the range count as at its edge; more such particles than this share are too many."""
STILL_MOVING = 1.0
"""Degrees: a larger median change of poses in the last round means that they had not converged;
no comparison recorded."""
POOR_FIT = 0.9  # share of the explicit map's gain; no comparison recorded
LOW_SHELLS, LOW_FSC = 3, 0.9  # for a warning; no comparison recorded
MOST_VIEWS = 20_000  # for speed; a density needs no more
MANY_BAD = 0.2
"""Share of images that look like noise above which it is a warning; no comparison recorded."""
STARTS_WARNING = "other starts ended in another"
"""In what a run says of starts that differ."""


@dataclass(frozen=True)
class Finding:
    """One thing to know: what it is, what it means and what to do."""

    level: Level
    title: str
    text: str


def find(record: RunRecord, coverage: ViewCoverage | None) -> list[Finding]:
    """Return the findings about a run, the most urgent first."""
    found = [
        *_resolution(record),
        *_warned(record),
        *_images(record),
        *_defocus(record),
        *_halves(record),
        *_starts(record),
        *_size(record),
        *([] if coverage is None else _views(coverage, len(symmetry_of(record)))),
        *_symmetry(record),
        *_hand(record),
        *_shifts(record),
        *_rest(record),
        *_fit(record),
    ]
    if record.is_noise:
        found = [finding for finding in found if finding.level != "good"]  # noise has no good news
    order = {"warning": 0, "note": 1, "good": 2}
    return sorted(found, key=lambda finding: order[finding.level])


def measure_views(record: RunRecord) -> ViewCoverage | None:
    """Return how uniformly views cover the sphere, with symmetric copies; None without poses."""
    views = all_views(record, MOST_VIEWS)
    return None if views is None else view_coverage(views)


def all_views(record: RunRecord, most: int) -> Tensor | None:
    """Return poses (n, 3, 3) with the copies of each that the map's symmetry makes, about as many as are asked for."""
    if record.particles is None or record.particles.rotations is None:
        return None
    rotation, group = record.particles.rotations, symmetry_of(record)
    step = max(1, math.ceil(len(rotation) * len(group) / most))
    return symmetric_copies(rotation[::step].double(), group)


def symmetry_of(record: RunRecord) -> Tensor:
    """Return the point group (m, 3, 3) of a run's map; no symmetry where it names none that there is."""
    return _group(words(record.summary, "symmetry") or words(record.config, "symmetry", default="C1"))


def _resolution(record: RunRecord) -> list[Finding]:
    resolution, nyquist = record.resolution, record.nyquist
    doubt = unconfirmed(record.summary, record.config, resolution, nyquist)
    if doubt is not None:
        return [Finding("warning", doubt.title, doubt.text)]
    if resolution is None:
        return []
    said = angstrom(resolution, nyquist)
    text = f"Two maps, each from half of the particles, agree to {said} (FSC 0.143, corrected for the mask)."
    found = [Finding("good", f"Resolved to {said}", text)]
    if nyquist is not None and is_nyquist(resolution, nyquist):
        text = (
            f"The resolution is Nyquist, two pixels of {nyquist / 2:.4g} Å: the half maps agree "
            "as far as these images reach. Smaller pixels may show more."
        )
        found.append(Finding("note", "Limited by the pixel size", text))
    return found


def _warned(record: RunRecord) -> list[Finding]:
    """Pass on the run's own warnings, except those about its starts, which are judged here."""
    said = [str(text) for text in listed(record.summary, "warnings")]
    return [Finding("warning", "The run warns", f"{text}.") for text in said if STARTS_WARNING not in text]


def _images(record: RunRecord) -> list[Finding]:
    """Say what the noise control found, and how many images look like noise."""
    found = []
    control = {name: number(record.summary, "noise_control", name) for name in ("n_images", "gain", "gain_error")}
    if None not in control.values() and not record.is_noise:
        text = (
            f"{control['n_images']:,.0f} images that were not used for the coarse map fit it better than pure noise by "
            f"{control['gain']:.3g} ± {control['gain_error']:.2g} nat each."
        )
        found.append(Finding("good", "There is a structure", text))
    n, bad = number(record.summary, "n_particles"), number(record.summary, "n_bad")
    if n and bad:
        text = (
            f"{bad:,.0f} of {n:,.0f} images fit pure noise better than the map at any pose. They have little "
            "weight in the maps; bad_particles.txt lists them."
        )
        found.append(Finding("warning" if bad > MANY_BAD * n else "note", "Images that look like noise", text))
    return found


def _defocus(record: RunRecord) -> list[Finding]:
    """Say what came of the defocus where it was refined."""
    said = words(record.summary, "defocus", "verdict", default="")
    if not said:
        return []
    return [Finding("note", "Defocus was asked of the images", f"Defocus was {said}.")]


def _halves(record: RunRecord) -> list[Finding]:
    curve = record.fsc.get("masked")
    if curve is None or len(curve.correlation) <= LOW_SHELLS + 1:
        return []
    low = float(curve.correlation[1 : LOW_SHELLS + 1].mean())
    if low >= LOW_FSC:
        return []
    text = (
        f"Even at the lowest frequencies the half maps correlate by only {low:.2f}: the two half sets show "
        "different shapes. Look at both half maps below; the particles may be heterogeneous, or too few."
    )
    return [Finding("warning", "The half maps disagree", text)]


def _starts(record: RunRecord) -> list[Finding]:
    """Compare the starts' likelihoods and, where the run did, their maps."""
    starts = numbers(record.summary, "log_likelihood")
    if record.config.get("poses", "unknown") != "unknown" or not starts:
        return []
    if len(starts) == 1:
        text = "The map comes from a single start, so it is not known whether another would agree. Use --n-starts 4."
        return [Finding("note", "Only one start", text)]
    maps = sorted(numbers(record.summary, "start_agreement"))[:-1]
    if not maps:
        return []
    apart = starts_with_another_map(maps)
    if apart:
        text = (
            f"{apart} of the other {len(maps)} starts ended in a different map (lowest correlation {maps[0]:.2f}). "
            "Run again with another --seed, and compare the maps with `resmfn align` and `resmfn fsc`."
        )
        return [Finding("warning", "The starts differ", text)]
    text = (
        f"All {len(starts)} independent starts ended in the same map (lowest correlation with the best {maps[0]:.2f})."
    )
    return [Finding("good", "Starts agree", text)]


def _size(record: RunRecord) -> list[Finding]:
    n = number(record.summary, "n_particles")
    if n is None or n >= FEW_PARTICLES:
        return []
    share = (
        f"Each half map is made from {n // 2:.0f} particles"
        if record.fsc
        else f"The map is made from {n:.0f} particles"
    )
    text = f"{share}. With so few, poses and details are uncertain; more particles would help most."
    return [Finding("warning", f"Few particles: {n:,.0f}", text)]


def _views(coverage: ViewCoverage, n_copies: int) -> list[Finding]:
    share, largest = coverage.sparse_share, coverage.largest
    if share <= SPARSE_SHARE and largest <= DENSE_VIEWS:
        text = f"The densest views have {largest:.1f} times the density of a uniform distribution{_counted(n_copies)}."
        return [Finding("good", "Views cover all directions", text)]
    text = (
        f"{share:.0%} of all directions have less than half the density of a uniform distribution, the densest "
        f"{largest:.1f} times it{_counted(n_copies)}. The map is smeared along the missing directions, and its "
        "resolution is overstated there. Tilted data or another grid preparation would help."
    )
    return [Finding("warning", "Preferred orientation", text)]


def _symmetry(record: RunRecord) -> list[Finding]:
    """Say which symmetry a map without one shows; of one that was made symmetric, that nothing here can deny it."""
    imposed = words(record.summary, "symmetry") or words(record.config, "symmetry", default="C1")
    tested = _symmetry_test(record, imposed)
    if tested is not None and len(symmetry_of(record)) > 1:
        return [tested]
    if record.is_done and len(symmetry_of(record)) > 1:
        text = (
            f"Both half maps were made {imposed}, so that they agree whether or not the molecule has it: a wrong group "
            "costs resolution and nothing here says so. Run once without --symmetry; that report says which symmetry "
            "the map shows by itself."
        )
        return [Finding("note", f"{imposed} was imposed", text)]
    name, pseudo = words(record.symmetry, "group", "name"), words(record.symmetry, "pseudo", "name")
    limit, reach = number(record.symmetry, "limit"), number(record.symmetry, "pseudo", "resolution")
    found = [] if tested is None else [tested]
    if name and name != "C1" and limit is not None:
        text = (
            f"Copies of the map turned by {name} agree with it as well as its half maps do, to {limit:.1f} Å. Run "
            f"again with --symmetry {name}: every image then counts {len(_group(name))} times."
        )
        found.append(Finding("note", f"The map shows {name}", text))
    if pseudo and reach is not None:
        text = (
            f"Copies turned by {pseudo} agree with the map at least half as well as its half maps do to {reach:.1f} Å, "
            f"but not as well. Either the molecule has {pseudo} only nearly, and --symmetry {pseudo} would average "
            "what differs; or it has it, and the half maps share errors of the common map that both began with. Only "
            f"images can tell: --relax-symmetry {pseudo} asks them."
        )
        found.append(Finding("note", f"Nearly {pseudo}", text))
    return found


def _symmetry_test(record: RunRecord, imposed: str) -> Finding | None:
    """Say what images left out say of a group that was imposed, or relaxed; None where they were not asked."""
    gain, error = (number(record.summary, "symmetry_test", name) for name in ("gain", "gain_error"))
    to = number(record.summary, "symmetry_test", "resolution")
    if gain is None or error is None or to is None:
        return None
    by = f"{gain:.2g} ± {error:.1g} nat each, to {to:.1f} Å"
    told = entry(record.summary, "symmetry_test", "are_told_apart") is True
    known = number(record.summary, "symmetry_test", "share_of_copies_known")
    if known is not None:
        relaxed = words(record.summary, "relax_symmetry")
        text = (
            f"Images left out fit the map better than its symmetric part by {by}; {known:.0%} of all images show one "
            f"copy of their pose by {relaxed} with a probability above 0.9, the others count at several."
        )
        return Finding("good", f"Copies by {relaxed} told apart", text) if told else None
    if told:
        text = (
            f"Images left out fit a map without {imposed} better than one with it, by {by}. Run without --symmetry or, "
            f"if the copies are nearly alike, with --relax-symmetry {imposed}."
        )
        return Finding("warning", f"The molecule does not have {imposed}", text)
    text = (
        f"Images left out fit a map without {imposed} no better than one with it ({by}). A difference in finer detail, "
        "or of few images, would not be seen."
    )
    return Finding("good", f"{imposed} fits the images", text)


def _group(name: str) -> Tensor:
    """Return a point group by its name; none where there is no such."""
    try:
        return point_group(name)
    except ResmfnError:
        return point_group("C1")


def _hand(record: RunRecord) -> list[Finding]:
    """Say that images cannot tell a molecule from its mirror image."""
    if not record.is_done or record.is_noise or words(record.summary, "hand") != "undecided":
        return []
    text = (
        "Images cannot tell a molecule from its mirror image, so this map has either hand. Helices seen at 4 Å or "
        "finer decide it, or a model: resmfn evaluate RUN --model FILE.cif. --flip-hand gives the other."
    )
    return [Finding("note", "The hand is undecided", text)]


def _counted(n_copies: int) -> str:
    return f" (each image counts as {n_copies} views, by the symmetry)" if n_copies > 1 else ""


def _shifts(record: RunRecord) -> list[Finding]:
    reach = number(record.config, "shift_range")
    if record.particles is None or record.particles.shifts is None or not reach:
        return []
    largest = record.particles.shifts.abs().amax(dim=1)
    share = float((largest > AT_THE_EDGE * reach).double().mean())
    if share <= EDGE_SHARE:
        return []
    text = (
        f"{share:.0%} of the particles are {AT_THE_EDGE * reach:.0f} Å or more from the image center, "
        f"at the edge of the {reach:g} Å that were searched. Raise --shift-range, or center the particles."
    )
    return [Finding("warning", "Shifts at the edge of the search range", text)]


def _rest(record: RunRecord) -> list[Finding]:
    turns = record.series("pose_change", ["halves"])
    if not record.is_done or not turns or turns[-1][1] <= STILL_MOVING:
        return []
    text = (
        f"In the last round of the half maps the poses still changed by {turns[-1][1]:.1f}°, so they "
        f"may not have converged."
    )
    return [Finding("note", "Poses had not converged", text)]


def _fit(record: RunRecord) -> list[Finding]:
    fits = record.series("network_fit")
    if not record.is_done or not fits or fits[-1][1] >= POOR_FIT:
        return []
    text = (
        f"The network explains {fits[-1][1]:.0%} of what an explicit map would. Raise --hidden-dim or --network-steps."
    )
    return [Finding("note", "The network fits poorly", text)]


def median(values: torch.Tensor) -> float:
    """Return the median of some values."""
    return float(values.double().median())
