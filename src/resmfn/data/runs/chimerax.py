"""``view.cxc``: a run in ChimeraX at a double click. Commands are those of ChimeraX 1.3 and later.

ChimeraX starts file names in such a script from the script's own folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resmfn.core import atomic_write
from resmfn.data.runs.file_names import LOCAL_RESOLUTION, MAP, MASK, UNMASKED_HALF_MAPS, VALIDATION

VIEW = "view.cxc"
SHARPENED, FILTERED = "map_sharpened.mrc", "map_filtered.mrc"
_CLASS = re.compile(r"class(\d{1,3})", re.ASCII)
_HIDDEN = (*UNMASKED_HALF_MAPS, MASK)
_LEAST_SPREAD = 0.1
"""Å, between the ends of the color key."""
_LARGEST = 1e30
"""Of a gray value or a resolution that a command can name."""
_UNKNOWN_LEVEL = 3.0
"""Standard deviations, of a map that no half maps say a level of."""


@dataclass(frozen=True)
class _Shown:
    """A map that is shown: where it is, at which level, and colored by what."""

    place: str
    file: str
    level: float | None
    fine: float | None
    coarse: float | None


def write_chimerax_view(folder: Path) -> Path | None:
    """Write ``view.cxc`` into a run folder: its map, or those of its classes side by side.

    Parameters
    ----------
    folder
        The run's folder, or one of its classes'; ``class1``, ``class2`` ... in it are classes.

    Returns
    -------
    Path or None
        The script; None where there is no map to show.
    """
    classes = sorted((int(match[1]), path) for path in folder.iterdir() if (match := _CLASS.fullmatch(path.name)))
    places = [path for _, path in classes if path.is_dir()] or [folder]
    shown = [found for place in places if (found := _find(place, folder)) is not None]
    if not shown:
        return None
    with atomic_write(folder / VIEW) as temporary:
        temporary.write_text("\n".join(_commands(folder, shown)) + "\n", encoding="utf-8")
    return folder / VIEW


def _find(place: Path, folder: Path) -> _Shown | None:
    prefix = "" if place == folder else f"{place.name}/"
    if not (place / SHARPENED).is_file():
        return _Shown(prefix, MAP, None, None, None) if (place / MAP).is_file() else None
    figures = _read(place / VALIDATION)
    fine, coarse = (_number(figures, "local_resolution", end) for end in ("p05", "p95"))
    if not (place / LOCAL_RESOLUTION).is_file() or fine is None or coarse is None or not 0 < fine <= coarse:
        fine = coarse = None
    level = _number(figures, "contour_level")
    # A sharpened map that no level lifts above its noise shows nothing; the one that is only filtered may.
    file = SHARPENED if level is not None or not (place / FILTERED).is_file() else FILTERED
    return _Shown(prefix, file, level, fine, coarse)


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(errors="replace"))
    except (OSError, ValueError, RecursionError):
        return {}


def _number(figures: object, *names: str) -> float | None:
    """Return a finite number below names within names, and nothing else: what is returned becomes part of a command."""
    for name in names:
        figures = figures.get(name) if isinstance(figures, dict) else None
    if isinstance(figures, bool) or not isinstance(figures, int | float) or not abs(figures) <= _LARGEST:
        return None
    return float(figures)


def _commands(folder: Path, shown: Sequence[_Shown]) -> list[str]:
    lines = ["# Open in ChimeraX: a double click, File > Open, or `chimerax view.cxc`.", "close session"]
    lines += [f"open {one.place}{one.file} id {i}" for i, one in enumerate(shown, start=1)]
    next_id = len(shown) + 1
    for i, one in enumerate(shown, start=1):
        level = f"level {one.level:.5g}" if one.level is not None else f"sdLevel {_UNKNOWN_LEVEL:g}"
        lines.append(f"volume #{i} style surface step 1 {level}")
        lines.append(f"rename #{i} {_title(one)}")
    fine, coarse = _range(shown)
    for i, one in enumerate(shown, start=1):
        if fine is not None and one.fine is not None:
            lines.append(f"open {one.place}{LOCAL_RESOLUTION} id {next_id}")
            lines.append(f"hide #{next_id} models")
            middle = (fine + coarse) / 2
            palette = f"{fine:.4g},blue:{middle:.4g},white:{coarse:.4g},red"
            lines.append(f"color sample #{i} map #{next_id} palette {palette}")
            next_id += 1
    if fine is not None:
        lines.append(
            f"key blue:{fine:.2f} white:{(fine + coarse) / 2:.2f} red:{coarse:.2f} pos 0.04,0.06 size 0.24,0.03"
        )
        lines.append('2dlabels text "local resolution, Å" xpos 0.04 ypos 0.11 size 16')
    for one in shown:
        for name in _HIDDEN:
            if (folder / one.place / name).is_file():
                lines += [f"open {one.place}{name} id {next_id}", f"hide #{next_id} models"]
                next_id += 1
    if len(shown) > 1:
        lines.append(f"tile #1-{len(shown)}")
    return [*lines, "set bgColor white", "lighting soft", "view"]


def _title(one: _Shown) -> str:
    level = f"level {one.level:.4g}" if one.level is not None else f"{_UNKNOWN_LEVEL:g} standard deviations"
    return f'"{one.place}{one.file}, {level}"'


def _range(shown: Sequence[_Shown]) -> tuple[float | None, float]:
    """Return the ends of one color key for all maps, Å; None where no map has local resolutions."""
    ends = [(one.fine, one.coarse) for one in shown if one.fine is not None and one.coarse is not None]
    if not ends:
        return None, 0.0
    fine = min(end for end, _ in ends)
    return fine, max(fine + _LEAST_SPREAD, *(end for _, end in ends))
