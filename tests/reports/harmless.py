"""Whether a page holds what a report is made of and nothing else: its elements, attributes and addresses."""

import json
import re
from html.parser import HTMLParser

from resmfn.reports.html.elements import unclosing
from resmfn.reports.html.page import VIEWER_SCRIPT, asset

TAGS = frozenset(
    [
        "a",
        "b",
        "body",
        "br",
        "button",
        "canvas",
        "circle",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "g",
        "h1",
        "h2",
        "h3",
        "head",
        "header",
        "html",
        "img",
        "input",
        "label",
        "legend",
        "li",
        "line",
        "link",
        "main",
        "meta",
        "nav",
        "option",
        "output",
        "p",
        "path",
        "polyline",
        "pre",
        "progress",
        "rect",
        "script",
        "section",
        "select",
        "small",
        "span",
        "style",
        "summary",
        "svg",
        "table",
        "tbody",
        "td",
        "text",
        "th",
        "thead",
        "title",
        "tr",
        "ul",
    ]
)
ATTRIBUTES = frozenset(
    [
        "alt",
        "aria-hidden",
        "aria-label",
        "aria-labelledby",
        "aria-live",
        "charset",
        "checked",
        "class",
        "content",
        "cx",
        "cy",
        "d",
        "data-field",
        "data-gallery",
        "data-map-title",
        "data-plane",
        "data-scale",
        "data-scales",
        "data-section",
        "data-view",
        "disabled",
        "fill",
        "for",
        "height",
        "hidden",
        "href",
        "http-equiv",
        "id",
        "lang",
        "loading",
        "max",
        "min",
        "name",
        "points",
        "preserveaspectratio",
        "r",
        "rel",
        "role",
        "scope",
        "selected",
        "src",
        "step",
        "stroke",
        "stroke-width",
        "style",
        "tabindex",
        "text-anchor",
        "title",
        "transform",
        "type",
        "value",
        "viewbox",
        "width",
        "x",
        "x1",
        "x2",
        "y",
        "y1",
        "y2",
    ]
)
ACTIVE_ATTRIBUTES = frozenset(
    {"href", "src", "style", "class", "content", "http-equiv", "rel", "type", "lang", "role", "d"}
)
"""Attributes that a browser acts on; the others are names and texts, escaped, and may say what a file says."""
_TAG = re.compile(r'<(?:!doctype html|/?([a-z][a-z0-9]*)((?: [a-zA-Z0-9-]+(?:="[^"<>]*")?)*))>')
_ATTRIBUTE = re.compile(r' ([a-zA-Z0-9-]+)(?:="([^"]*)")?')
_CLASS_PAGE = re.compile(r"class[0-9]{1,3}/report\.html")


class Seen(HTMLParser):
    """What a browser would take for elements, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._texts: list[str] = []
        self.feed(page)
        self.close()
        self.text = "".join(self._texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self._texts.append(data)


def require_harmless(page: str, mark: str = "evil") -> Seen:
    """Fail if a page has an element, an attribute, an address or a script that is not the report's own.

    Parameters
    ----------
    page
        HTML.
    mark
        What hostile text is known by: it may stand in text only.
    """
    seen = Seen(without_own_code(page))
    _require_known(seen.tags, seen.attributes, mark)
    require_strict(page, mark)
    return seen


def require_strict(page: str, mark: str = "evil") -> None:
    """Fail likewise, without a parser and so in a tenth of the time: all markup must be of the builder's plain form."""
    page = without_own_code(page)
    data = re.findall(r'<script type="application/json" id="page-data">([^<]*)</script>', page)
    assert len(data) == 1
    json.loads(data[0])
    page = page.replace(data[0], "")
    tags = _TAG.findall(page)
    assert not re.search('[<>"]', _TAG.sub("", page))
    opened = [name for name, _ in tags if name]
    _require_known(opened, [pair for _, said in tags for pair in _ATTRIBUTE.findall(said)], mark, per_element=2)


def without_own_code(page: str) -> str:
    """Return a page without the package's own scripts and styles: long, and the same on all pages."""
    for name in ("report.css", "report.js", VIEWER_SCRIPT):
        page = page.replace(f">{unclosing(asset(name))}</", "></")
    return page


def _require_known(
    tags: list[str], attributes: list[tuple[str, str | None]], mark: str, *, per_element: int = 1
) -> None:
    assert set(tags) <= TAGS, set(tags) - TAGS
    names = {name.lower() for name, _ in attributes}
    assert names <= ATTRIBUTES, names - ATTRIBUTES
    assert tags.count("meta") == 3
    assert 2 <= tags.count("script") / per_element <= 3
    assert tags.count("style") == per_element
    assert [value for name, value in attributes if name == "http-equiv"] == ["Content-Security-Policy"]
    for name, value in attributes:
        said = value or ""
        if name in ("src", "href"):
            assert said.startswith(("data:", "#")) or _CLASS_PAGE.fullmatch(said), said
        assert mark not in said or name not in ACTIVE_ATTRIBUTES, (name, said)
