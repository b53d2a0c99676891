"""Put a page together: one file, its scripts named by their hashes, nothing else allowed to run or to load."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from resmfn import __version__

VIEWER_SCRIPT, VIEWER_LICENSE, VIEWER_NAME = "3Dmol-min.js", "3Dmol-LICENSE.txt", "3Dmol.js 2.5.5"


@dataclass(frozen=True)
class Page:
    """What is on a page."""

    title: str
    subtitle: str
    head: str
    """Markup below the title: key figures, progress."""
    sections: Sequence[tuple[str, str, str]]
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
    scripts = [script.replace("</script", "<\\/script") for script in scripts]
    links = "".join(f'<li><a href="#{name}">{escape(short)}</a></li>' for name, short, _ in page.sections)
    body = "".join(markup for _, _, markup in page.sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(page.title)} - resmfn report</title>"
        f'<link rel="icon" href="data:,"><style>{asset("report.css")}</style></head>'
        '<body><a class="skip" href="#main">To the content</a><div class="layout">'
        f'<nav aria-label="Sections"><p>resmfn report</p><ul>{links}</ul></nav><main id="main"><header>'
        f'<h1>{escape(page.title)}</h1><p class="sub">{escape(page.subtitle)}</p></header>{page.head}{body}'
        f"{_footer(bool(page.maps))}</main></div>"
        f'<script type="application/json" id="page-data">{_embedded(data)}</script>'
        + "".join(f"<script>{script}</script>" for script in scripts)
        + "</body></html>\n"
    )


@cache
def asset(name: str) -> str:
    """Return a text file of the package."""
    return (files("resmfn.reports.html") / "assets" / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """Allow this page's own scripts, by hash, its inline styles and pictures; no request can leave."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"base-uri 'none'; form-action 'none'"
    )


def _embedded(data: dict[str, Any]) -> str:
    """Return JSON that cannot end the element it stands in."""
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c")


def _footer(with_viewer: bool) -> str:
    text = f"Made by resmfn {__version__}. This page is complete in itself: it loads nothing and sends nothing."
    if not with_viewer:
        return f"<footer><p>{text}</p></footer>"
    return (
        f"<footer><p>{text} Its 3-D graphics are drawn by {VIEWER_NAME} (BSD-3-Clause).</p>"
        f"<details><summary>Licence of "
        f"{VIEWER_NAME}</summary><pre>{escape(asset(VIEWER_LICENSE))}</pre></details></footer>"
    )
