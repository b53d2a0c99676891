"""The sections that show maps: the 3-D viewer, sections through a map, and all maps side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resmfn.reports.html.elements import Markup, element
from resmfn.reports.html.pictures import VIRIDIS
from resmfn.reports.html.text import section

FIRST_LEVEL = 450
"""First of the level slider's 1000 steps: about 2 % of the box lies inside the surface."""
SECTION_NAMES = ("xy (seen along z)", "xz (seen along y)", "yz (seen along x)")
SECTION_PIXELS, GALLERY_PIXELS = 320, 112
VIEWS = (("front", "z points at you"), ("side", "x points at you"), ("top", "y points at you"))


def map_sections(maps: Sequence[dict[str, Any]], local: dict[str, Any] | None = None) -> list[tuple[str, str, Markup]]:
    """Return what a page shows of its maps, for :class:`resmfn.reports.html.page.Page`: nothing if it has none."""
    if not maps:
        return []
    return [("map", "Map in 3-D", viewer_section(maps, local)), ("sections", "Sections", slices_section(maps))]


def viewer_section(maps: Sequence[dict[str, Any]], local: dict[str, Any] | None = None) -> Markup:
    """Return the 3-D viewer with its controls; with local resolution, also a switch that colors by it."""
    choices = [
        element(
            "label", element("input", type="radio", name="map", value=i, checked=i == 0), m["title"], class_="choice"
        )
        for i, m in enumerate(maps)
    ]
    views = [(element("button", name, type="button", data_view=name, title=title), " ") for name, title in VIEWS]
    viewer = element(
        "div", id="viewer", role="application", tabindex=0,
        aria_label="Surface of the chosen map in 3-D. Arrow keys rotate it, plus and minus zoom.",
    )  # fmt: skip
    level = element(
        "div",
        element("label", "Surface level", for_="level"),
        element("input", type="range", id="level", min=0, max=1000, step=5, value=FIRST_LEVEL),
        element("output", id="level-text", for_="level"),
        class_="control",
    )
    view = element(
        "div",
        element("label", "View", id="views-label"),
        element("div", views, role="group", aria_labelledby="views-label"),
        class_="control",
    )
    controls = element(
        "div",
        element("fieldset", element("legend", "Map"), choices),
        level,
        view,
        None if local is None else _local_control(local),
    )
    how = (
        "Drag to rotate, scroll to zoom; move the level to the right to show only the densest parts. The level is a "
        "choice: the stated mass is that of protein filling the volume that the surface encloses, and says nothing "
        "about the molecule until the level is set to enclose it. The half maps should show the same shape, and "
        "each scale adds detail to the one before. Axes are those of the file, x to the right, y up and z towards "
        "you in the front view, as ChimeraX shows it. Projections cannot tell a molecule from its mirror image: the "
        "hand may be either."
    )
    return section("map", "Map in 3-D", how, element("div", viewer, controls, class_="viewing"))


def _local_control(local: dict[str, Any]) -> Markup:
    switch = element(
        "label", element("input", type="checkbox", id="local"), "Color by local resolution", class_="choice"
    )
    ends = [element("span", f"{local[end]:.2f} Å") for end in ("low", "high")]
    key = element("div", ramp(reverse=True), element("div", ends, class_="ends"), id="local-key", hidden=True)
    return element("div", switch, key, class_="control")


def ramp(*, reverse: bool = False) -> Markup:
    """Return a strip of the color map, low values left."""
    colors = ", ".join(f"rgb{color}" for color in (reversed(VIRIDIS) if reverse else VIRIDIS))
    return element("div", class_="ramp", style=f"background:linear-gradient(90deg, {colors})")


def slices_section(maps: Sequence[dict[str, Any]]) -> Markup:
    """Return three sections through the chosen map, and the central sections of all of them."""
    panes = [_pane(i, name) for i, name in enumerate(SECTION_NAMES)]
    heads = [element("th", m["title"], scope="col") for m in maps]
    rows = [
        element(
            "tr",
            element("th", name[:2], scope="row"),
            [
                element("td", _central(k, i, f"Central {name[:2]} section of {m['title'].lower()}"))
                for k, m in enumerate(maps)
            ],
        )
        for i, name in enumerate(SECTION_NAMES)
    ]
    table = element("table", element("thead", element("tr", element("td"), heads)), element("tbody", rows))
    chosen = element("div", element("h3", data_map_title=True), element("div", panes, class_="sections"), class_="card")
    gallery = element(
        "div", element("h3", "Central sections of all maps"), table, class_="card gallery", style="margin-top:1rem"
    )
    how = (
        "White is dense. A good map shows a clear particle on a flat background; streaks across it, or structure "
        "outside, are artifacts. Surfaces hide both, so look here before trusting the surface above."
    )
    return section("sections", "Sections", how, chosen, gallery)


def _pane(number: int, name: str) -> Markup:
    """Return one section of the chosen map with its slider."""
    slider = f"section-{number}"
    picture = element(
        "canvas", class_="section", data_plane=number, width=SECTION_PIXELS, height=SECTION_PIXELS, role="img",
        aria_label=f"Section {name} through the chosen map, white is dense",
    )  # fmt: skip
    return element(
        "figure",
        picture,
        element("figcaption", element("label", name, for_=slider)),
        element("input", type="range", id=slider, data_section=True, min=0, max=1000, value=504),
        element("output", id=f"section-text-{number}", for_=slider),
    )


def _central(number: int, plane: int, alt: str) -> Markup:
    return element(
        "canvas",
        data_gallery=f"{number} {plane}",
        width=GALLERY_PIXELS,
        height=GALLERY_PIXELS,
        role="img",
        aria_label=alt,
    )
