"""The sections that show maps: the 3-D viewer, sections through a map, and all maps side by side."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from resmfn.reports.html.pictures import VIRIDIS
from resmfn.reports.html.text import section

FIRST_LEVEL = 450
"""Of the level slider's 1000 steps: about 2 % of the box lies inside the surface."""
SECTION_NAMES = ("xy (seen along z)", "xz (seen along y)", "yz (seen along x)")
SECTION_PIXELS, GALLERY_PIXELS = 320, 112


def map_sections(maps: Sequence[dict[str, Any]], local: dict[str, Any] | None = None) -> list[tuple[str, str, str]]:
    """Return what a page shows of its maps, for :class:`resmfn.reports.html.page.Page`: nothing if it has none."""
    if not maps:
        return []
    return [("map", "Map in 3-D", viewer_section(maps, local)), ("sections", "Sections", slices_section(maps))]


def viewer_section(maps: Sequence[dict[str, Any]], local: dict[str, Any] | None = None) -> str:
    """Return the 3-D viewer with its controls; with local resolution, also a switch that colors by it."""
    choices = "".join(
        f'<label class="choice"><input type="radio" name="map" value="{i}"{" checked" if i == 0 else ""}>'
        f"{escape(m['title'])}</label>"
        for i, m in enumerate(maps)
    )
    views = "".join(
        f'<button type="button" data-view="{name}" title="{title}">{name}</button> '
        for name, title in (("front", "z points at you"), ("side", "x points at you"), ("top", "y points at you"))
    )
    body = (
        '<div class="viewing"><div id="viewer" role="application" tabindex="0" aria-label="Surface of the '
        "chosen map in 3-D. "
        'Arrow keys turn it, plus and minus zoom."></div><div>'
        f'<fieldset><legend>Map</legend>{choices}</fieldset><div class="control"><label for="level">Surface '
        f"level</label>"
        f'<input type="range" id="level" min="0" max="1000" step="5" value="{FIRST_LEVEL}">'
        '<output id="level-text" for="level"></output></div>'
        f'<div class="control"><label id="views-label">View</label><div role="group" '
        f'aria-labelledby="views-label">{views}</div></div>'
        f"{'' if local is None else _local_control(local)}</div></div>"
    )
    how = (
        "Drag to turn, scroll to zoom; move the level to the right for the dense core only. The half maps "
        "should show the same "
        "shape, and each scale adds detail to the one before. Axes are those of the file, x to the right, y "
        "up and z towards "
        "you in the front view, as ChimeraX shows it. Projections cannot tell a molecule from its mirror "
        "image: the hand may be "
        "either."
    )
    return section("map", "Map in 3-D", how, body)


def _local_control(local: dict[str, Any]) -> str:
    ramp = ", ".join(f"rgb{color}" for color in reversed(VIRIDIS))
    return (
        '<div class="control"><label class="choice"><input type="checkbox" id="local">Color by local resolution</label>'
        f'<div id="local-key" hidden><div class="ramp" style="background:linear-gradient(90deg, {ramp})"></div>'
        f'<div class="ends"><span>{local["low"]:.2f} Å</span><span>{local["high"]:.2f} Å</span></div></div></div>'
    )


def slices_section(maps: Sequence[dict[str, Any]]) -> str:
    """Return three sections through the chosen map, and the central sections of all of them."""
    panes = "".join(
        f'<figure><canvas class="section" data-plane="{i}" width="{SECTION_PIXELS}" height="{SECTION_PIXELS}" '
        f'role="img" '
        f'aria-label="Section {name} through the chosen map, white is dense"></canvas><figcaption><label '
        f'for="section-{i}">'
        f'{name}</label></figcaption><input type="range" id="section-{i}" data-section min="0" max="1000" value="504">'
        f'<output id="section-text-{i}" for="section-{i}"></output></figure>'
        for i, name in enumerate(SECTION_NAMES)
    )
    head = "".join(f'<th scope="col">{escape(m["title"])}</th>' for m in maps)
    rows = "".join(
        f'<tr><th scope="row">{name[:2]}</th>'
        + "".join(
            f'<td><canvas data-gallery="{k} {i}" width="{GALLERY_PIXELS}" height="{GALLERY_PIXELS}" role="img" '
            f'aria-label="Central {name[:2]} section of {escape(m["title"].lower())}"></canvas></td>'
            for k, m in enumerate(maps)
        )
        + "</tr>"
        for i, name in enumerate(SECTION_NAMES)
    )
    body = (
        f'<div class="card"><h3 data-map-title></h3><div class="sections">{panes}</div></div>'
        '<div class="card gallery" style="margin-top:1rem"><h3>Central sections of all maps</h3>'
        f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    how = (
        "White is dense. A good map has a clear particle on a flat, empty surround; streaks across it, or "
        "structure outside, "
        "are signs of trouble. Surfaces hide both, so look here before believing the picture above."
    )
    return section("sections", "Sections", how, body)
