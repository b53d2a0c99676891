"""Read settings, a YAML file of plain values, without trusting it: none may hang, fill memory or end in a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from resmfn.core import InputError, one_line

MOST_BYTES = 2**18
"""Of a file of settings; a run writes two kilobytes. PyYAML takes seconds for as many."""


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a YAML file; nothing where it holds something else than names with values.

    Raises
    ------
    InputError
        It is not there or cannot be understood, is longer than any settings are, or writes out to more than it says
        (anchors and aliases, which no run writes).
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise yaml.YAMLError(f"{size / 2**10:,.0f} KiB are no settings of a run")
        found = yaml.load(path.read_text(encoding="utf-8", errors="replace"), Loader=_PlainLoader)  # noqa: S506
        str(found)  # hexadecimal numbers may be longer than Python writes out
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # PyYAML lets pass what its parts raise, KeyError and RecursionError among them
        raise InputError(f"{path}: cannot be read ({one_line(error, 200)}); restore it") from error
    return found if isinstance(found, dict) else {}


class _PlainLoader(yaml.SafeLoader):
    """Reads plain values; a few lines of aliases to aliases would be gigabytes once they are written out."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("settings have no aliases")
        return super().compose_node(parent, index)
