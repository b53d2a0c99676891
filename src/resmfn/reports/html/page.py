"""Assemble a page: one file, whose content security policy allows only its own scripts, by hash."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from resmfn import __version__
from resmfn.reports.html.elements import Markup, document, element, joined, own_code, unclosing

VIEWER_SCRIPT, VIEWER_LICENSE, VIEWER_NAME = "3Dmol-min.js", "3Dmol-LICENSE.txt", "3Dmol.js 2.5.5"


@dataclass(frozen=True)
class Page:
    """The content of a page."""

    title: str
    subtitle: str
    head: Markup | None
    """Below the title: key figures, progress."""
    sections: Sequence[tuple[str, str, Markup]]
    """Name (the link's target), short title for the list of sections, markup."""
    maps: Sequence[dict[str, Any]] = field(default_factory=list)
    refresh: int = 0
    """Seconds after which an open page loads itself again; 0 is never."""
    local: dict[str, Any] | None = None
    """Local resolution, from :func:`pack_local`."""


def render(page: Page) -> str:
    """Return the page as HTML."""
    data = {"key": f"resmfn {page.title} ", "maps": list(page.maps), "local": page.local, "refresh": page.refresh}
    scripts = ([asset(VIEWER_SCRIPT)] if page.maps else []) + [asset("report.js")]
    head = joined(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(scripts)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{page.title} - resmfn report"),
        element("link", rel="icon", href="data:,"),
        own_code("style", asset("report.css")),
    )
    links = [element("li", element("a", short, href=f"#{name}")) for name, short, _ in page.sections]
    main = element(
        "main",
        element("header", element("h1", page.title), element("p", page.subtitle, class_="sub")),
        page.head,
        [markup for _, _, markup in page.sections],
        _footer(bool(page.maps)),
        id="main",
    )
    contents = element("nav", element("p", "resmfn report"), element("ul", links), aria_label="Sections")
    body = joined(
        element("a", "To the content", class_="skip", href="#main"),
        element("div", contents, main, class_="layout"),
        own_code("script", _embedded(data), type="application/json", id="page-data"),
        [own_code("script", script) for script in scripts],
    )
    return document(head, body)


@cache
def asset(name: str) -> str:
    """Return a text file of the package."""
    return (files("resmfn.reports.html") / "assets" / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """Allow this page's own scripts, by hash, its inline styles and pictures; no request can leave."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(unclosing(script).encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"base-uri 'none'; form-action 'none'"
    )


def _embedded(data: dict[str, Any]) -> str:
    """Return JSON without a character that begins a tag."""
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c")


def _footer(with_viewer: bool) -> Markup:
    text = f"Made by resmfn {__version__}. This page is complete in itself: it loads nothing and sends nothing."
    if not with_viewer:
        return element("footer", element("p", text))
    license_ = element(
        "details", element("summary", f"License of {VIEWER_NAME}"), element("pre", asset(VIEWER_LICENSE))
    )
    return element(
        "footer", element("p", text, f" Its 3-D graphics are drawn by {VIEWER_NAME} (BSD-3-Clause)."), license_
    )
