"""HTML and SVG elements: their content is escaped, and only they produce markup.

No other module of the reports writes a tag (``tests/reports/test_escaping.py``), so no text from a file can become one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

_EMPTY = {"br", "img", "input", "link", "meta"}
"""Elements without content, and so without an end."""
_ADDRESSES = {"href", "src"}
_OWN_ADDRESSES = ("#", "data:")
"""What an address may begin with: a place on the page, or what the page holds."""
_CLASS_PAGE = re.compile(r"class[0-9]{1,3}/report\.html")
"""The only other address: the page of a class of the run, beside this one."""
_ENDS = re.compile("</(script|style)", re.IGNORECASE)


@dataclass(frozen=True)
class Markup:
    """Finished HTML; made by the functions of this module only, and no string: it cannot be pasted into one."""

    html: str


Content = Markup | str | int | float | None | Iterable["Content"]
"""What an element holds: markup as it is, anything else as text; None is nothing."""


def element(name: str, /, *content: Content, **attributes: str | float | bool | None) -> Markup:
    """Return an element.

    Parameters
    ----------
    name
        Of the tag.
    content
        Children, in order.
    attributes
        Underscores stand for hyphens, one at the end is left out (``class_``). True is an attribute without a value;
        None and False leave it out.

    Raises
    ------
    ValueError
        If an address leads out of the page, or an element that cannot have content is given some.
    """
    tag = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    if name not in _EMPTY:
        return Markup(f"{tag}{joined(*content).html}</{name}>")
    if content:
        raise ValueError(f"<{name}> holds nothing, got content")
    return Markup(tag)


def joined(*content: Content) -> Markup:
    """Return several pieces as one."""
    return Markup("".join(_escaped(piece) for piece in content))


def own_code(name: str, code: str, /, **attributes: str) -> Markup:
    """Return a script or a style sheet of this package; it cannot end its element."""
    if name not in ("script", "style"):
        raise ValueError(f"only scripts and styles hold code, not <{name}>")
    head = "".join(_attribute(key, value) for key, value in attributes.items())
    return Markup(f"<{name}{head}>{unclosing(code)}</{name}>")


def unclosing(code: str) -> str:
    """Return code that cannot end its element: in the strings of a script, a backslash before ``/`` changes nothing."""
    return _ENDS.sub(r"<\\/\1", code)


def document(head: Markup, body: Markup) -> str:
    """Return a whole page in English."""
    return f"<!doctype html>\n{element('html', element('head', head), element('body', body), lang='en').html}\n"


def _escaped(piece: Content) -> str:
    if piece is None:
        return ""
    if isinstance(piece, Markup):
        return piece.html
    if isinstance(piece, (str, int, float)):
        return _escaped_text(piece)
    return "".join(_escaped(part) for part in piece)


def _escaped_text(text: object) -> str:
    """Return a text as HTML; names of files may hold what is no letter in UTF-8."""
    return escape(str(text).encode("utf-8", "replace").decode())


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    is_own = str(value).startswith(_OWN_ADDRESSES) or (name == "href" and _CLASS_PAGE.fullmatch(str(value)))
    if name in _ADDRESSES and not is_own:
        raise ValueError(f"{name} of an element must lie in the page, got {value!r}")
    return f' {name}="{_escaped_text(value)}"'
