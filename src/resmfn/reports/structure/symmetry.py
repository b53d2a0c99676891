"""``resmfn symmetry``: the point group of a map on disk, and the map turned into the group's setting."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from resmfn.core import InputError, atomic_write
from resmfn.core.random import spawn
from resmfn.data import read_map, write_map
from resmfn.data.runs.file_names import MAP, SYMMETRY, UNMASKED_HALF_MAPS
from resmfn.data.runs.result_files import require_own_results
from resmfn.evaluation import GroupFit, MapAlignment, SymmetryResult, apply_alignment, find_symmetry
from resmfn.reports.compare import refuse_existing
from resmfn.reports.inputs import StrPath, read_map_pair


def symmetry(
    map_or_run: StrPath,
    half1: StrPath | None = None,
    half2: StrPath | None = None,
    *,
    mask_diameter: float | None = None,
    pixel_size: float | None = None,
    out: StrPath | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> SymmetryResult:
    """Find the point group of a map.

    Parameters
    ----------
    map_or_run
        A map; or a run folder, whose half maps without mask are used, and where symmetry.json is written.
    half1, half2
        Its half maps: they tell noise from asymmetry.
    mask_diameter
        Å, of the sphere about the molecule that is looked into.
    pixel_size
        Å per voxel, in place of what the headers say.
    out
        Where the map goes, turned and moved so that the group's axes are those of RELION's setting.
    seed
        Of the random turns.
    overwrite
        Whether ``out`` may be replaced.

    Raises
    ------
    InputError
        If a file is missing, unfit or there already, or one half map is given without the other.
    """
    refuse_existing(out, overwrite=overwrite)
    path = Path(map_or_run)
    if (half1 is None) != (half2 is None):
        raise InputError("one half map says nothing without the other: give both, or none")
    folder = path if path.is_dir() else None
    if folder is not None:
        if half1 is not None:
            raise InputError(f"{path}: is a run folder, which has half maps of its own; give no others")
        path, half1, half2 = _of_run(folder)
    volume = read_map(path, pixel_size)
    halves = None
    if half1 is not None and half2 is not None:
        _, first = read_map_pair(path, half1, pixel_size)
        _, second = read_map_pair(path, half2, pixel_size)
        halves = (first.data, second.data)
    found = find_symmetry(
        volume.data, volume.pixel_size, halves, mask_diameter=mask_diameter, generator=spawn(seed, "symmetry")
    )
    if folder is not None:
        with atomic_write(folder / SYMMETRY) as temporary:
            temporary.write_text(json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n")
    if out is not None:
        write_map(out, apply_alignment(volume.data, _setting(found.group, volume.pixel_size)), volume.pixel_size)
    return found


def symmetry_table(found: SymmetryResult) -> str:
    """Lines for the group, its axes, and how copies agree band by band."""
    lines = [symmetry_words(found), ""]
    shown = found.group if found.group.name != "C1" or found.pseudo is None else found.pseudo
    if shown.bands:
        lines.append(f"copies of {shown.name}, correlation with the map by resolution:")
        lines.append(f"{'to':>10}{'half maps':>12}{'copies':>9}{'worst':>8}{'random turns':>16}")
        for band in shown.bands:
            halves = "-" if band.halves is None else f"{band.halves:.2f}"
            random = f"{band.random:.2f} ± {band.random_spread:.2f}"
            lines.append(f"{band.resolution:>8.1f} Å{halves:>12}{band.copies:>9.2f}{band.worst:>8.2f}{random:>16}")
        x, y, z = shown.frame[:, 2].tolist()
        lines += ["", f"z of {shown.name} in the map: {x:.4f} {y:.4f} {z:.4f} (x, y, z)"]
        x, y, z = shown.center.tolist()
        lines.append(f"its center: {x:.2f} {y:.2f} {z:.2f} Å from the middle of the box")
    return "\n".join(lines)


def symmetry_words(found: SymmetryResult) -> str:
    """Say in a sentence which symmetry a map shows, and what that rests on."""
    group, pseudo = found.group, found.pseudo
    base = "half maps agree" if found.has_halves else "the map goes"
    if not found.is_decidable:
        return (
            f"not to be told: half maps agree to {found.limit:.1f} Å, too coarse for {found.diameter:.0f} Å of molecule"
        )
    if group.name == "C1":
        text = f"C1: no symmetry down to {found.limit:.1f} Å, as far as {base}"
    else:
        text = f"{group.name}: copies agree to {group.resolution:.1f} Å, as far as {base}"
        if found.has_halves:
            text += f" (the worst {group.agreement:.0%} as well as the half maps)"
    if pseudo is not None:
        if found.has_halves:
            text += (
                f"; nearly {pseudo.name}: the worst copy agrees {pseudo.agreement:.0%} as well as the half maps, at "
                f"least half as well down to {pseudo.resolution:.1f} Å: a pseudo-symmetry, or errors that the half "
                f"maps share; a run with --relax-symmetry {pseudo.name} asks its images"
            )
        else:
            text += f"; {pseudo.name} down to {pseudo.resolution:.1f} Å only: noise or a pseudo-symmetry, give half "
            text += "maps to tell"
    return text


def _of_run(folder: Path) -> tuple[Path, Path, Path]:
    unmasked = [folder / name for name in UNMASKED_HALF_MAPS]
    for path in (folder / MAP, *unmasked):
        if not path.is_file():
            raise InputError(f"{folder}: {path.name} is not in this folder; give a finished run, or a map")
    require_own_results(folder, MAP, *(path.name for path in unmasked))
    return folder / MAP, unmasked[0], unmasked[1]


def _setting(group: GroupFit, pixel_size: float) -> MapAlignment:
    """Return the turn and shift that bring a map into RELION's setting of its group: new(x) = map(F x + c)."""
    return MapAlignment(group.frame.T, group.center.to(torch.float64), 1, 1.0, 0.0, pixel_size)
