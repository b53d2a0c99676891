"""Pieces that several sections use: sections, cards and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from resmfn.reports.html.elements import Content, Markup, element

MOST_ITEMS = 50
"""Most items of a list that are shown."""
MOST_LETTERS = 2000
"""Most letters of a setting that are shown."""
MOST_DEPTH = 4


def section(name: str, title: str, how_to_read: str, *body: Content) -> Markup:
    """Return a section with its heading and one sentence on how to read it."""
    return element(
        "section",
        element("h2", title, id=f"{name}-title"),
        element("p", how_to_read, class_="read"),
        body,
        id=name,
        aria_labelledby=f"{name}-title",
    )


def card(body: Content, title: str = "", caption: str = "") -> Markup:
    """Return a box with a heading above and a line below."""
    head = element("h3", title) if title else None
    foot = element("figcaption", caption) if caption else None
    return element("div", head, element("figure", body, foot), class_="card")


def columns(cards: Iterable[Content]) -> Markup:
    """Return boxes side by side where there is room."""
    return element("div", list(cards), class_="columns")


def table(rows: Mapping[str, object]) -> Markup:
    """Return names and values in two columns."""
    lines = [element("tr", element("th", str(k), scope="row"), element("td", plain(v))) for k, v in rows.items()]
    return element("table", element("tbody", lines), class_="plain")


def plain(value: object, depth: int = 0) -> str:
    """Return a setting in plain words; long or deeply nested ones are cut."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (dict, list, tuple)):
        if depth == MOST_DEPTH:
            return "..."
        items = [f"{plain(k)}: {plain(v, depth + 1)}" for k, v in value.items()] if isinstance(value, dict) else [
            plain(item, depth + 1) for item in value[:MOST_ITEMS]
        ]  # fmt: skip
        shown = ", ".join(items[:MOST_ITEMS])
        return _short(shown + (", ..." if len(value) > MOST_ITEMS else ""))
    return _short(str(value))


def _short(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else text[:MOST_LETTERS] + " ..."
