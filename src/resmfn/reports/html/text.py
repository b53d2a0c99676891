"""Words and small pieces of markup that several sections use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape


def section(name: str, title: str, how_to_read: str, body: str) -> str:
    """Return a section with its heading and one sentence on how to read it."""
    return (
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{escape(title)}</h2>'
        f'<p class="read">{how_to_read}</p>{body}</section>'
    )


def card(body: str, title: str = "", caption: str = "") -> str:
    """Return a box with a heading above and a line below."""
    head = f"<h3>{escape(title)}</h3>" if title else ""
    foot = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<div class="card">{head}<figure>{body}{foot}</figure></div>'


def columns(cards: Iterable[str]) -> str:
    """Return boxes side by side where there is room."""
    return f'<div class="columns">{"".join(cards)}</div>'


def table(rows: Mapping[str, object]) -> str:
    """Return names and values in two columns."""
    lines = "".join(
        f'<tr><th scope="row">{escape(str(k))}</th><td>{escape(plain(v))}</td></tr>' for k, v in rows.items()
    )
    return f'<table class="plain"><tbody>{lines}</tbody></table>'


def plain(value: object) -> str:
    """Return a setting as one would say it."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value)
    return str(value)
