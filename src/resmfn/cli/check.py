"""``resmfn check``: flags, and a short table that describes a particle set."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from resmfn.cli.input_flags import (
    AllowOutside,
    AmplitudeContrast,
    DataDir,
    Passthrough,
    SphericalAberration,
    StripPrefix,
    Voltage,
)
from resmfn.cli.number_flags import in_range
from resmfn.core.numbers import COUNT, PIXEL_SIZE, SIDE

_REFUSED = 2
_SIGNS = {1: "white", -1: "dark", None: "not stated"}


def check(
    particles: Annotated[
        Path, Parameter(help="A .star or .cs file, an image stack, a folder with .npy files, or a map.")
    ],
    *,
    metadata_only: Annotated[bool, Parameter(negative=(), help="Read metadata only; open no image stack.")] = False,
    json: Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON.")] = False,
    datadir: DataDir = None,
    strip_prefix: StripPrefix = None,
    allow_outside: AllowOutside = False,
    passthrough: Passthrough = None,
    pixel_size: Annotated[float | None, in_range(PIXEL_SIZE, "Pixel size in Å; overrides the files.")] = None,
    voltage: Voltage = None,
    spherical_aberration: SphericalAberration = None,
    amplitude_contrast: AmplitudeContrast = None,
    samples: Annotated[int, in_range(COUNT, "Number of images to examine.")] = 300,
    box_size: Annotated[
        int | None,
        in_range(SIDE, "Box size for which to estimate memory and time [default: each that the run may end in]."),
    ] = None,
) -> int:
    """Describe a particle set or a map, and list what would make a reconstruction fail.

    Exit code 0: the input can be used. 2: it is refused, with the reason.
    """
    from resmfn.core import ResmfnError
    from resmfn.data import Supplement, inspect_map, inspect_particles, is_map_file, read_particles

    try:
        if is_map_file(particles):
            seen = inspect_map(particles, pixel_size).as_dict()
            print(json_text.dumps({"readable": not seen["would_fail"], **seen}, indent=1) if json else _map_table(seen))
            return _REFUSED if seen["would_fail"] else 0
        found = read_particles(
            particles,
            datadir,
            with_images=not metadata_only,
            pixel_size=pixel_size,
            strip_prefix=strip_prefix,
            allow_outside=allow_outside,
            supplement=Supplement(
                passthrough=passthrough,
                voltage=voltage,
                spherical_aberration=spherical_aberration,
                amplitude_contrast=amplitude_contrast,
            ),
        )
        record = inspect_particles(found, samples, box_size).as_dict()
        record |= _cost_of(record, is_fixed=box_size is not None)
    except (ResmfnError, OSError) as error:
        if not json:
            raise
        _print_json({"path": str(particles), "readable": False, "reason": str(error)})
        return _REFUSED
    refused = bool(record["would_fail"]) and not metadata_only
    if json:
        _print_json({"readable": not refused, **record})
    else:
        print(_table(record))
    return _REFUSED if refused else 0


def _cost_of(record: dict[str, Any], *, is_fixed: bool) -> dict[str, Any]:
    """Return what a reconstruction would take on this machine, by the box that it ends in; None where it is not known.

    The box grows with the resolution, unless one is asked for.
    """
    if record["working_box"] is None:
        return {"memory_bytes": None, "cpu_seconds": None, "boxes": []}
    from resmfn.reconstruction.run.box_plan import BoxPlan
    from resmfn.reconstruction.run.cost_model import cost_by_box, machine_pace

    size, pixel_size = record["working_box"]
    plan = BoxPlan.fixed(size) if is_fixed else BoxPlan.by_default(size)
    boxes = [
        {
            "box_size": box,
            "resolution": size * pixel_size / max(1, plan.radius_of(box)),
            "memory_bytes": cost.memory_bytes,
            "cpu_seconds": cost.cpu_seconds,
        }
        for box, cost in cost_by_box(record["n_images"], plan, machine_pace()).items()
    ]
    return {"memory_bytes": boxes[-1]["memory_bytes"], "cpu_seconds": boxes[-1]["cpu_seconds"], "boxes": boxes}


def _print_json(record: dict[str, object]) -> None:
    print(json_text.dumps(record, indent=1))


def _table(record: dict[str, Any]) -> str:
    from resmfn.core.progress import duration

    rows = [("images", f"{record['n_images']}")]
    rows += [("stacks", f"{record['n_stacks']}")] if record["n_stacks"] is not None else []
    rows += [("box", _listed(record["box_sizes"], "pixels"))]
    rows += [("pixel size", _listed(record["pixel_sizes"], "Å"))]
    for number, group in enumerate(record["optics_groups"][:10], start=1):
        text = f"{group['voltage']:g} kV, Cs {group['spherical_aberration']:g} mm"
        text += f", amplitude contrast {group['amplitude_contrast']:g}"
        rows += [(f"optics {number}", f"{text}, {group['n_images']} images")]
    if len(record["optics_groups"]) > 10:
        rows += [("", f"and {len(record['optics_groups']) - 10} more groups")]
    defocus = record["defocus_range"]
    rows += [("defocus", f"{defocus[0]:.0f} to {defocus[1]:.0f} Å" if defocus else "none: images without CTF")]
    poses = "rotations and shifts" if record["has_shifts"] else "rotations, no shifts"
    rows += [("poses", poses if record["has_poses"] else "none")]
    if record["n_sampled"]:
        share = record["share_white"]
        by = "" if share is None else f" ({100 * share:.0f} % look white)"
        rows += [("molecule", f"{_SIGNS[record['measured_sign']]}, measured on {record['n_sampled']} images{by}")]
        if record["ramp"] is not None:
            ramp = f"a ramp of {record['ramp']:.2f} standard deviations of the noise (rms over the image, median)"
            rows += [("background", f"{ramp}; reconstruct subtracts it")]
        rows += [("bad images", f"{record['n_bad']} of {record['n_sampled']} examined")]
    if record["stated_sign"] is not None:
        rows += [("  the file says", _SIGNS[record["stated_sign"]])]
    if record["working_box"] is not None:
        box, pixel_size = record["working_box"]
        rows += [("working box", f"{box} pixels of {pixel_size:g} Å")]
        rows += [
            (
                f"  to {of['resolution']:.1f} Å",
                f"about {duration(of['cpu_seconds'])} of one CPU, if the images tell their poses, and "
                f"{of['memory_bytes'] / 2**30:.1f} GiB",
            )
            for of in record["boxes"]
        ]
    rows += [("applied", line) for line in record["applied"]]
    rows += [("columns used", " ".join(record["columns_used"]))]
    rows += [("  not used", " ".join(record["columns_not_used"]) or "none")]
    rows += [("note", line) for line in record["notes"]] + [("would fail", reason) for reason in record["would_fail"]]
    return "\n".join(f"{name:<15} {text}" for name, text in rows)


def _map_table(record: dict[str, Any]) -> str:
    def three(values: Sequence[float], separator: str, unit: str) -> str:
        return f"{separator.join(f'{value:g}' for value in values)} {unit}"

    voxel = record["voxel_size"]
    rows = [
        ("voxels", three(record["sides"], " x ", "along x, y, z")),
        ("voxel size", three(voxel, " x ", "Å") if voxel else "not stated"),
        ("cell angles", three(record["cell_angles"], ", ", "degrees")),
        ("first voxel at", three(record["origin"], ", ", "Å (ignored: the middle voxel is the origin)")),
        (
            "values",
            f"{record['minimum']:g} to {record['maximum']:g}, mean {record['mean']:g} ± {record['deviation']:g}",
        ),
    ]
    rows += [("note", note) for note in record["notes"]] + [("would fail", reason) for reason in record["would_fail"]]
    return "\n".join(f"{name:<15} {text}" for name, text in rows)


def _listed(values: list[float], unit: str) -> str:
    return f"{', '.join(f'{value:g}' for value in values[:6])} {unit}" if values else "not stated"
