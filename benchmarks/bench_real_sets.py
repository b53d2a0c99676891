"""What real particle sets need: bad and black images, several optics groups, symmetry, memory, RELION in and out.

One JSON object a case goes to ``--results`` (appended). README.md beside this file says how we measure.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import torch
from bench_accuracy import Case, reconstruct, relion_map, score, simulate
from judges import add_tools, names
from records import append, stamp

from resmfn.data import read_map, read_particles
from resmfn.rotations import geodesic_degrees, point_group

HARD = ("--invert", "--scale-range", "0.5", "2", "--noise-fraction", "0.1")
CENTERED = ("--shift-range", "0")
UNIT = "1ol5.pdb"
OFFSETS = {"D2": (26.0, 14.0, 20.0), "C4": (32.0, 10.0, 0.0)}
"""By point group: how far off the axes the first chain stands, Å."""
FIELD = 163.2
"""Å: side of the images of an assembly."""
N_ROWS, N_STORED, LARGE_BOX = 50_000, 2_000, 256


def hard(tools: argparse.Namespace) -> dict:
    """Black molecules, grey scales of 0.5 to 2, a tenth of the images noise, two optics groups."""
    case = Case("adk_open.pdb", ("--n", str(tools.n), *HARD), ("--mask-diameter", "84", *CENTERED))
    data = simulate(case, 0, tools.out / "data-hard", tools)
    for name in ("particles.star", "particles_true.star"):
        _share_rows_among_two_groups(data / name)
    folder = tools.out / "run-hard"
    usage = reconstruct(case, 0, data, folder)
    found = read_particles(folder / "particles.star", with_images=False)
    bad = torch.zeros(len(found), dtype=torch.bool)
    bad[torch.from_numpy(np.load(data / "noise_only.npy"))] = True
    flagged = torch.tensor([float(x) < 0.5 for x in found.table.text("rlnParticleFigureOfMerit")])
    true = read_particles(data / "particles_true.star", with_images=False)
    errors = errors_modulo(found.rotations[~bad], true.rotations[~bad], "C1")
    summary = json.loads((folder / "summary.json").read_text())
    return {
        **_pose_figures(errors),
        "n_noise": int(bad.sum()),
        "precision": round(float((flagged & bad).sum() / flagged.sum()), 4),
        "recall": round(float((flagged & bad).sum() / bad.sum()), 4),
        "contrast": summary["contrast"],
        "optics_groups": len(found.optics_table),
        "half_map_fsc0143_A": summary["resolution_half_0143"],
        "cpu_s": round(usage.cpu_s, 1),
        "peak_memory_mib": round(usage.peak_memory_mib),
    }


def symmetry(tools: argparse.Namespace) -> dict:
    """Four copies of a chain placed by D2, reconstructed with and without the symmetry given."""
    return _assembly(tools, "D2")


def symmetry_c4(tools: argparse.Namespace) -> dict:
    """Four copies of a chain around one axis, C4, reconstructed with and without the symmetry given."""
    return _assembly(tools, "C4")


def _assembly(tools: argparse.Namespace, group: str) -> dict:
    tools.out.mkdir(parents=True, exist_ok=True)
    model = tools.out / f"{group.lower()}.pdb"
    write_assembly(Path(tools.models) / UNIT, group, OFFSETS[group], model)
    simulated = ("--n", str(tools.n // 2), "--box", str(tools.box), "--pixel-size", f"{FIELD / tools.box:g}")
    data = simulate(Case(str(model), simulated), 0, tools.out / f"data-symmetry-{group}", tools)
    true = read_particles(data / "particles_true.star", with_images=False)
    record: dict[str, object] = {"flags": list(simulated)}
    for name in (group, "C1"):
        case = Case(str(model), simulated, (*CENTERED, "--symmetry", name), mask_radius=70.0)
        folder = tools.out / f"run-symmetry-{group}-{name}"
        usage = reconstruct(case, 0, data, folder)
        scores = score(folder / "map.mrc", folder / "particles.star", data, case, tools)
        found = read_particles(folder / "particles.star", with_images=False)
        summary = json.loads((folder / "summary.json").read_text())
        record[name] = {
            **_pose_figures(errors_modulo(found.rotations, true.rotations, group)),
            "fsc05_unmasked_A": round(scores["unmasked"]["fsc05"], 3),
            "half_map_fsc0143_A": summary["resolution_half_0143"],
            "cpu_s": round(usage.cpu_s, 1),
        }
    return record


def wide_shifts(tools: argparse.Namespace) -> dict:
    """Images off center by 5 Å rms in x and y, a tenth of them by more than 10 Å, searched to 15 Å."""
    case = Case(
        "adk_open.pdb",
        ("--n", str(tools.n), "--shift-std", "5"),
        ("--mask-diameter", "84", "--shift-range", "15"),
    )
    data = simulate(case, 0, tools.out / "data-wide-shifts", tools)
    folder = tools.out / "run-wide-shifts"
    usage = reconstruct(case, 0, data, folder)
    scores = score(folder / "map.mrc", folder / "particles.star", data, case, tools)
    found, true = (
        read_particles(path, with_images=False) for path in (folder / "particles.star", data / "particles_true.star")
    )
    errors = errors_modulo(found.rotations, true.rotations, "C1")
    far = true.require_poses()[1].norm(dim=1) > 10
    summary = json.loads((folder / "summary.json").read_text())
    return {
        **_pose_figures(errors),
        "n_beyond_10_A": int(far.sum()),
        "pose_median_deg_beyond_10_A": round(float(errors[far].median()), 3) if bool(far.any()) else None,
        "fsc05_unmasked_A": round(scores["unmasked"]["fsc05"], 3),
        "half_map_fsc0143_A": summary["resolution_half_0143"],
        "cpu_s": round(usage.cpu_s, 1),
    }


def memory_rows(tools: argparse.Namespace) -> dict:
    """50,000 rows over 2,000 images of 256^2, up to the first maps."""
    return _memory(tools, "rows", N_STORED, np.dtype("<f4"))


def memory_float16(tools: argparse.Namespace) -> dict:
    """50,000 float16 images of 256^2 (6.6 GB), up to the first maps."""
    return _memory(tools, "float16", N_ROWS, np.dtype("<f2"))


def relion(tools: argparse.Namespace) -> dict:
    """Our files through RELION's programs, for a finished run of clean images (``--run`` and ``--data``)."""
    case = Case("adk_open.pdb", ("--n", str(tools.n)), ("--mask-diameter", "84", *CENTERED))
    data, folder = tools.data, tools.run
    if folder is None:
        data, folder = simulate(case, 0, tools.out / "data-clean", tools), tools.out / "run-clean"
        reconstruct(case, 0, data, folder)
    shutil.rmtree(folder / "relion", ignore_errors=True)  # of an earlier measurement
    theirs = read_map(relion_map(folder, data)).data
    ours = read_map(folder / "map.mrc")
    summary = json.loads((folder / "summary.json").read_text())
    curve = _masked_fsc(ours.data, theirs)
    frequency = np.arange(len(curve)) / (ours.box_size * ours.pixel_size)
    stated = summary["resolution_half_0143"]
    return {
        "fsc_lowest_to_6_A": round(float(curve[1:][frequency[1:] <= 1 / 6].min()), 4),
        "fsc_at_stated_resolution": round(float(np.interp(1 / stated, frequency, curve)), 4),
        "stated_resolution_A": stated,
        "images_correlation_with_relion_project": _projections(folder, data),
        **_refined(folder, data),
        "image_handler_reads_maps": _handled(folder),
    }


CASES: dict[str, Callable[[argparse.Namespace], dict]] = {
    "hard": hard,
    "symmetry": symmetry,
    "symmetry-c4": symmetry_c4,
    "wide-shifts": wide_shifts,
    "memory-rows": memory_rows,
    "memory-float16": memory_float16,
    "relion": relion,
}


# --- data -----------------------------------------------------------------------------------------


def _share_rows_among_two_groups(star: Path) -> None:
    lines, n = [], 0
    for line in star.read_text().splitlines():
        cells = line.split()
        if line.startswith("1 opticsGroup1"):
            lines += [line, line.replace("1 opticsGroup1", "2 opticsGroup2")]
        elif line.startswith("2 opticsGroup2"):
            continue
        elif "@" in line:
            cells[5], n = str(1 + n % 2), n + 1
            lines.append(" ".join(cells))
        else:
            lines.append(line)
    star.write_text("\n".join(lines) + "\n")


def write_assembly(
    unit: Path, group: str, offset: tuple[float, float, float], target: Path, *, lacks_below: int = 0
) -> None:
    """Write copies of a model's first chain, moved off the axes and placed by a point group.

    The first copy lacks the residues with numbers below ``lacks_below``.
    """
    chain = gemmi.read_structure(str(unit))[0][0]
    atoms = [(residue, atom) for residue in chain if residue.name != "HOH" for atom in residue]
    xyz = np.array([atom.pos.tolist() for _, atom in atoms])
    xyz += offset - xyz.mean(axis=0)
    model = gemmi.Model(1)
    for turn, letter in zip(point_group(group).numpy(), "ABCDEFGHIJKLMNOPQRSTUVWXYZ", strict=False):
        copy, odd = gemmi.Chain(letter), letter == "A"
        for (residue, atom), position in zip(atoms, xyz @ turn.T, strict=True):
            if odd and residue.seqid.num < lacks_below:
                continue
            if not len(copy) or copy[-1].seqid != residue.seqid:
                empty = gemmi.Residue()
                empty.name, empty.seqid = residue.name, residue.seqid
                copy.add_residue(empty)
            moved = atom.clone()
            moved.pos = gemmi.Position(*position)
            copy[-1].add_atom(moved)
        model.add_chain(copy)
    structure = gemmi.Structure()
    structure.add_model(model)
    structure.setup_entities()
    structure.write_pdb(str(target))


def _memory(tools: argparse.Namespace, name: str, n_stored: int, dtype: np.dtype) -> dict:
    folder = tools.out / f"data-memory-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    stack, star = folder / "particles.mrcs", folder / "particles.star"
    _write_large_stack(stack, n_stored, dtype)
    header = "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n"
    header += "_rlnImagePixelSize\n_rlnImageSize\n1 300 2.7 0.1 0.75 256\n\ndata_particles\n\nloop_\n_rlnImageName\n"
    header += "_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n_rlnOpticsGroup\n"
    rows = (f"{i % n_stored + 1:06d}@particles.mrcs {15000 + i % 5000} 15000 {i % 180} 1\n" for i in range(N_ROWS))
    star.write_text(header + "".join(rows))
    out = tools.out / f"run-memory-{name}"
    command = [sys.executable, "-m", "resmfn", "reconstruct", str(star), "--out", str(out), "--overwrite"]
    command += ["--box-size", "64", "--n-starts", "1", *CENTERED]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None and not (out / "preview.mrc").exists():
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        peak = max(peak, int(found[1]) if found else 0)
        time.sleep(0.2)
    ended_early = process.poll() is not None
    process.terminate()
    process.wait()
    size = stack.stat().st_size
    stack.unlink()
    if ended_early:
        raise SystemExit(f"{name}: the run ended before its first maps")
    return {
        "rows": N_ROWS,
        "images": n_stored,
        "stack_mib": round(size / 2**20),
        "peak_memory_mib": round(peak / 1024),
        "wall_s_to_first_maps": round(time.monotonic() - started, 1),
    }


def _write_large_stack(path: Path, n: int, dtype: np.dtype) -> None:
    """Write noisy images of a few blobs."""
    rng = np.random.default_rng(0)
    header = np.zeros(256, dtype="<i4")
    header[:4] = (LARGE_BOX, LARGE_BOX, n, 12 if dtype.itemsize == 2 else 2)
    header[7:10] = (LARGE_BOX, LARGE_BOX, n)
    header[10:13] = np.array([LARGE_BOX * 0.75] * 2 + [n * 0.75], dtype="<f4").view("<i4")
    header[13:16] = np.array([90, 90, 90], dtype="<f4").view("<i4")
    header[16:19] = (1, 2, 3)
    header[52] = int.from_bytes(b"MAP ", "little")
    header[53] = 0x4444
    y, x = np.mgrid[:LARGE_BOX, :LARGE_BOX] - LARGE_BOX // 2
    images = rng.standard_normal((200, LARGE_BOX, LARGE_BOX), dtype=np.float32)
    for image in images:
        for cx, cy in 25 * rng.standard_normal((4, 2)):
            image += np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 200, dtype=np.float32)
    block = images.astype(dtype)
    with path.open("wb") as file:
        file.write(header.tobytes())
        for start in range(0, n, len(block)):  # the same again: what they show does not matter here
            file.write(block[: n - start].tobytes())


# --- figures --------------------------------------------------------------------------------------


def errors_modulo(estimated: torch.Tensor, true: torch.Tensor, name: str) -> torch.Tensor:
    """Return pose errors (n,) in degrees, the nearest of the poses that a symmetry makes alike counting.

    After the best global rotation, either hand: images propose it, all judge, weighted means refine it.
    """
    estimated, true, group = estimated.double(), true.double(), point_group(name)
    alike = true[:, None] @ group
    fits = []
    for hand in (1.0, -1.0):
        flip = torch.tensor([hand, hand, 1.0], dtype=torch.float64)
        turned = flip[:, None] * estimated
        voters = torch.linspace(0, len(true) - 1, min(200, len(true))).long()
        proposals = true[voters[::3]].mT @ turned[voters[::3]]
        votes = [torch.exp(-((_nearest(turned[voters] @ r.mT, alike[voters])[0] / 15) ** 2)).mean() for r in proposals]
        rotation = proposals[int(torch.stack(votes).argmax())]
        for _ in range(20):
            errors, chosen = _nearest(turned @ rotation.mT, alike)
            matrix = torch.einsum("n,nij->ij", torch.exp(-((errors / 12) ** 2)), chosen.mT @ turned)
            u, _, vh = torch.linalg.svd(matrix)
            rotation = u @ torch.diag(torch.tensor([1.0, 1.0, float(torch.det(u @ vh).sign())]).double()) @ vh
        fits.append(errors)
    return min(fits, key=lambda errors: float(errors.median()))


def _nearest(pose: torch.Tensor, alike: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    errors = geodesic_degrees(pose[:, None], alike)
    best = errors.argmin(dim=1)
    return errors.amin(dim=1), alike[torch.arange(len(best)), best]


def _pose_figures(errors: torch.Tensor) -> dict[str, float]:
    return {
        "pose_median_deg": round(float(errors.median()), 3),
        "pose_mean_deg": round(float(errors.mean()), 3),
        "share_within_10_deg": round(float((errors < 10).double().mean()), 4),
    }


def _masked_fsc(ours: torch.Tensor, theirs: torch.Tensor) -> np.ndarray:
    """Return the FSC by shell under one mask: where our map, softened, is not 0."""
    from scipy import ndimage

    near = ndimage.gaussian_filter((ours.abs() > 1e-3 * ours.abs().max()).numpy().astype(float), 1.0)
    a, b = (np.fft.fftn(volume.numpy() * near) for volume in (ours, theirs))
    k = np.fft.fftfreq(len(near)) * len(near)
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int)
    keep = shell <= len(near) // 2
    cross, one, two = (
        np.bincount(shell[keep], weights=values[keep])
        for values in ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)
    )
    return cross / np.sqrt(one * two)


def _in_folder(folder: Path, *command: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def linked(folder: Path, data: Path, work: Path) -> Path:
    """Return a folder with the STAR file of a run and the images, from where RELION is started."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "particles.star").write_bytes((folder / "particles.star").read_bytes())
    (work / "particles.mrcs").unlink(missing_ok=True)
    (work / "particles.mrcs").symlink_to((data / "particles.mrcs").resolve())
    return work


def _projections(folder: Path, data: Path) -> float:
    """Correlate what relion_project makes of our map at our poses with the images' clean truth at true poses."""
    work = linked(folder, data, folder / "relion")
    made = _in_folder(work, "relion_project", "--i", "../map.mrc", "--o", "proj", "--ang", "particles.star", "--ctf")
    if made.returncode:
        raise SystemExit(made.stdout + made.stderr)
    truth = str((data / "volume.mrc").resolve())
    (work / "true.star").write_bytes((data / "particles_true.star").read_bytes())
    made = _in_folder(work, "relion_project", "--i", truth, "--o", "true_proj", "--ang", "true.star", "--ctf")
    if made.returncode:
        raise SystemExit(made.stdout + made.stderr)
    one, two = (_stack(work / name) for name in ("proj.mrcs", "true_proj.mrcs"))
    correlation = [float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in zip(one, two, strict=True)]
    return round(float(np.median(correlation)), 4)


def _stack(path: Path) -> np.ndarray:
    import mrcfile

    with mrcfile.open(path, permissive=True) as file:
        return np.array(file.data)


def _refined(folder: Path, data: Path) -> dict[str, object]:
    """Start relion_refine from our STAR file and map, for one iteration of local search."""
    work = linked(folder, data, folder / "relion")
    flags = "--i particles.star --ref ../map.mrc --o refined/start --iter 1 --K 1 --tau2_fudge 4 --ini_high 10 --ctf"
    flags += " --flatten_solvent --zero_mask --particle_diameter 84 --healpix_order 3 --sigma_ang 2 --offset_range 2"
    flags += " --offset_step 1 --oversampling 0 --firstiter_cc --pad 1 --norm --scale --j 1"
    (work / "refined").mkdir(exist_ok=True)
    done = _in_folder(work, "relion_refine", *flags.split())
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    found = read_particles(work / "refined" / "start_it001_data.star", with_images=False)
    ours = read_particles(folder / "particles.star", with_images=False)
    moved = geodesic_degrees(found.rotations, ours.rotations)
    return {"relion_refine_iterations": 1, "relion_refine_median_turn_deg": round(float(moved.median()), 2)}


def _handled(folder: Path) -> bool:
    """Say whether relion_image_handler reads every map that we write, and finds their statistics."""
    for path in sorted(folder.glob("*.mrc")):
        made = _in_folder(folder, "relion_image_handler", "--i", path.name, "--stats")
        if made.returncode or "stddev" not in made.stdout.lower().replace(" ", ""):
            return False
    return True


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_tools(parser)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/real_sets.jsonl"))
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--n", type=int, default=2000, help="images of the cases that reconstruct to the end")
    parser.add_argument("--box", type=int, default=48, help="pixels of the images of an assembly, over 163.2 Å")
    parser.add_argument("--run", type=Path, help="finished run of clean images, for the case relion")
    parser.add_argument("--data", type=Path, help="folder of the images and the truth of --run")
    tools = parser.parse_args()
    tools.out = tools.out.resolve()
    if (tools.run is None) != (tools.data is None):
        parser.error("--run and --data go together")
    for name in tools.cases:
        if name.startswith("symmetry") and not (Path(tools.models) / UNIT).is_file():
            print(f"{name}: not measured: {UNIT} is not in {tools.models} (--models)", flush=True)
            continue
        record = {"benchmark": "real_sets", "case": name, "made_with": stamp(), **names(tools), **CASES[name](tools)}
        append(tools.results, record)
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
