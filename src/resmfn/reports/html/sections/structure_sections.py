"""What the map says of its symmetry, and how evenly views sample Fourier space."""

from __future__ import annotations

import math

from resmfn.evaluation.sampling import SIDE_VIEWS, FourierSampling, fourier_sampling
from resmfn.reports.findings import all_views
from resmfn.reports.html.elements import Markup, element
from resmfn.reports.html.text import card, columns, section, table
from resmfn.reports.run_record import RunRecord
from resmfn.reports.values import entry, number, numbers, words

MOST_SLICES = 10_000
"""Views, symmetric copies counted, whose slices are counted."""
LEAST_CFAR = 0.5
"""cryoSPARC's threshold: below, it calls the orientations preferred."""
MOST_BANDS = 20


def sampling_card(record: RunRecord) -> Markup | None:
    """Return SCF, SCF* and cFAR of a run, and a sentence on what is missing; None without poses."""
    views = all_views(record, MOST_SLICES)
    if views is None:
        return None
    found = fourier_sampling(views)
    rows: dict[str, object] = {
        "SCF*": f"{found.scf_star:.2f} (SCF {found.scf:.2f}; side views alone have {SIDE_VIEWS:.2f})",
        "not sampled": f"{found.unsampled:.1%} of all directions",
    }
    cfar = number(record.validation, "directional_resolution", "cfar")
    if cfar is not None:
        rows["cFAR"] = f"{cfar:.2f} (below {LEAST_CFAR} is called preferred orientation)"
    return card(table(rows), "Fourier sampling", sampling_words(found, cfar))


def sampling_words(found: FourierSampling, cfar: float | None) -> str:
    """Say what is missing, or that nothing is."""
    if not found.is_decidable:
        return (
            f"Too few views to tell: a direction of Fourier space is met by {found.mean_count:.1f} of them on average, "
            "and some by none even where views are uniform."
        )
    x, y, z = found.thinnest.tolist()
    rot, tilt = math.degrees(math.atan2(y, x)), math.degrees(math.acos(max(-1.0, min(1.0, z))))
    place = f"the direction rot {rot:.0f}°, tilt {tilt:.0f}°"
    if found.scf_star >= SIDE_VIEWS and (cfar is None or cfar >= LEAST_CFAR):
        return "Nothing is missing: views look from enough sides, and the half maps agree in all directions."
    if found.scf_star >= SIDE_VIEWS:
        return (
            "Views look from enough sides, yet the half maps agree much less in some directions: images of some views "
            "may be poor, or their poses wrong."
        )
    if found.unsampled > 0:
        text = f"No view tells anything of {found.unsampled:.0%} of all directions of Fourier space"
    else:
        text = f"Least is known along {place}, sampled {found.thinnest_share:.2f} times as often as in even sampling"
        return f"{text}: views that look at right angles to it are too few."
    return f"{text}, {place} among them: views that look at right angles to it are missing."


def symmetry_section(record: RunRecord) -> Markup | None:
    """Return the point group that the half maps show, with the bands that say so; None where it was not looked for."""
    found = record.symmetry
    if not found:
        return None
    name = words(found, "group", "name", default="C1")
    key = "pseudo" if name == "C1" and entry(found, "pseudo") is not None else "group"
    told = entry(found, "is_decidable") is not False
    rows: dict[str, object] = {"point group": name if told else "not to be told: the half maps agree too coarsely"}
    limit = number(found, "limit")
    if limit is not None:
        rows["judged to"] = f"{limit:.1f} Å"
    pseudo, reach = words(found, "pseudo", "name"), number(found, "pseudo", "resolution")
    if pseudo and reach is not None:
        rows["in part"] = f"{pseudo}, at least half as well as the half maps to {reach:.1f} Å"
    axis = entry(found, key, "frame")
    if name != "C1" and isinstance(axis, list) and len(axis) == 3:
        z = [numbers({"row": row}, "row")[2:3] for row in axis]
        rows["its z axis in the map"] = ", ".join(f"{value:.3f}" for row in z for value in row)
    cards = [card(table(rows), "Symmetry")]
    bands = entry(found, key, "bands")
    head = ("to", "half maps", "copies", "worst copy", "random turns")
    names = ("halves", "copies", "worst", "random")
    lines = []
    for band in bands[:MOST_BANDS] if isinstance(bands, list) else []:
        end = number(band, "resolution") if isinstance(band, dict) else None
        if end is None:
            continue
        values = [number(band, name) for name in names]
        cells = [f"{end:.1f} Å", *("-" if value is None else f"{value:.2f}" for value in values)]
        lines.append(element("tr", [element("td", cell) for cell in cells]))
    if lines:
        row = element("tr", [element("th", text, scope="col") for text in head])
        title = f"Copies of {words(found, key, 'name')}, band by band"
        cards.append(card(element("table", element("thead", row), element("tbody", lines), class_="plain"), title))
    how = (
        "Half map 1, turned by each element of the group, is compared with half map 2. Of a symmetric molecule they "
        "agree as well as unturned; of a pseudo-symmetric one they agree, but less."
    )
    return section("symmetry", "Symmetry of the map", how, columns(cards))
