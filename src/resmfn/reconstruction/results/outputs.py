"""The files that a finished run leaves."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import torch
from torch import Tensor

from resmfn.data import write_fsc_xml, write_particles
from resmfn.data.runs.chimerax import write_chimerax_view
from resmfn.data.runs.file_names import FSC_XML, MAP, PARTICLES, SUMMARY
from resmfn.data.runs.run_folder import RunFolder
from resmfn.data.selection import CLASS, CLASS_PROBABILITY
from resmfn.evaluation import HalfMapResult
from resmfn.evaluation.starts import SAME_MAP, starts_with_another_map
from resmfn.evaluation.validation import figure
from resmfn.fourier import low_pass
from resmfn.reconstruction.phases.halves import agreement_of_half_maps
from resmfn.reconstruction.phases.soft import ends_by_cost
from resmfn.reconstruction.results.defocus import defocus_figures, defocus_verdict, with_refined_defocus
from resmfn.reconstruction.results.examples import write_examples
from resmfn.reconstruction.results.hand import flip_hand, inverted
from resmfn.reconstruction.results.independence import shared_by_halves, split_resolution
from resmfn.reconstruction.results.map_files import write_density
from resmfn.reconstruction.results.symmetry import symmetry_test, symmetry_warnings, verdict_on_symmetry
from resmfn.reconstruction.results.validation_files import write_validation
from resmfn.reconstruction.run.context import HALVES, RunContext, already_set
from resmfn.reconstruction.run.progress_files import PREVIEW


def write_results(folder: RunFolder, run: RunContext) -> dict[str, object]:
    """Write maps, poses, curves and summary; return the summary."""
    if run.config.flip_hand:
        flip_hand(run)
    run.particles = with_refined_defocus(run)
    state = run.state
    mask = run.mask_on(run.full)
    gray_scale = run.observations.gray_scale
    maps = {name: state.maps.references[name].cpu() * gray_scale for name in (*HALVES, "joint")}
    measured = agreement_of_half_maps(run, mask)
    # Halves that agree in no shell at all agree on one thing: that something is in the box. It is drawn at that.
    halves = replace(measured, resolution=min(measured.resolution, run.box_size * run.pixel_size))
    for name in HALVES:
        write_density(folder, run, f"{name}.mrc", maps[name])
    write_density(folder, run, MAP, maps["joint"])
    write_density(folder, run, "map_filtered.mrc", _filtered(run, maps["joint"], halves))
    _write_scales(folder, run)
    _write_poses(folder, run)
    _write_bad_images(folder, run)
    write_examples(folder, run, maps["joint"], halves)
    corrected = halves.curves.corrected
    write_fsc_xml(
        folder.path / FSC_XML,
        corrected.frequency.tolist(),
        corrected.correlation.tolist(),
        "half maps, masked, corrected by phase randomization",
    )
    run.tell("validation", "curves, local and directional resolution, sharpening of the half maps", 0.99)
    write_validation(folder, run, mask, halves)
    write_chimerax_view(folder.path)
    for said in defocus_verdict(run):
        run.tell("results", said, 0.99)
    summary = _summary(run, measured)
    folder.write_json(SUMMARY, summary)
    (folder.path / PREVIEW).unlink(missing_ok=True)
    return summary


def _write_scales(folder: RunFolder, run: RunContext) -> None:
    """Write the map of every scale of the network, of the hand that was asked for: the network has that of the run."""
    network = run.network("joint")
    for scale in range(1, network.scale_for(run.state.band.radius) + 1):  # finer ones were not fitted
        with torch.no_grad():
            bare = network.decode(run.full, scale).cpu() * run.observations.gray_scale
        bare = inverted(bare) if run.config.flip_hand else bare
        write_density(folder, run, f"map_scale{scale}.mrc", bare)


def _filtered(run: RunContext, volume: Tensor, halves: HalfMapResult) -> Tensor:
    side = run.box_size * run.pixel_size
    cutoff = min(side / halves.resolution, run.map_size / 2)
    return low_pass(volume, cutoff, 2.0)


def _write_poses(folder: RunFolder, run: RunContext) -> None:
    estimates, particles = run.state.poses, run.particles
    if run.moves_poses or run.config.flip_hand:
        poses = run.poses()
        particles = particles.with_poses(poses.rotation.double().cpu(), poses.shift.double().cpu())
    columns = {
        "rlnRandomSubset": half_set_of_image(run),
        "rlnMaxValueProbDistribution": already_set(estimates.max_probability).double().cpu(),
        "rlnPoseEntropy": already_set(estimates.entropy).double().cpu(),
        "rlnParticleFigureOfMerit": particle_probabilities(run).double(),
    }
    if CLASS_PROBABILITY in particles.table:  # of another run, by which select would go
        columns |= {CLASS: torch.ones(len(particles), dtype=torch.int64), CLASS_PROBABILITY: torch.ones(len(particles))}
    write_particles(folder.path / PARTICLES, particles.with_columns(columns))


def half_set_of_image(run: RunContext) -> Tensor:
    """Return 1 or 2, int64 (n,): the half set of each image."""
    subset = torch.ones(len(run.particles), dtype=torch.int64)
    subset[run.half_index[1].cpu()] = 2
    return subset


def particle_probabilities(run: RunContext) -> Tensor:
    """Return the probability (n,) of each image to show the molecule; 1 where poses were fixed."""
    particle_probability = run.state.qualities.good
    return torch.ones(len(run.particles)) if particle_probability is None else particle_probability.cpu()


def _write_bad_images(folder: RunFolder, run: RunContext) -> None:
    particle_probability = particle_probabilities(run)
    list_bad_images(folder, run, particle_probability, particle_probability < 0.5)


def list_bad_images(folder: RunFolder, run: RunContext, particle_probability: Tensor, bad: Tensor) -> None:
    """List some images, bool (n,): row in the STAR file from 1, name, probability (n,) to show the particle."""
    names = run.particles.table.text("rlnImageName")
    lines = [f"{row + 1} {names[row]} {float(particle_probability[row]):.6f}\n" for row in bad.nonzero()[:, 0].tolist()]
    folder.write_text("bad_particles.txt", "".join(lines))


def run_figures(run: RunContext) -> dict[str, object]:
    """Return what a summary says of the run itself: its cost, its device, its box."""
    state = run.state
    return {
        "seconds": round(state.costs.seconds, 2),
        "cpu_seconds": round(state.costs.cpu_seconds, 2),
        "peak_memory": state.costs.peak_memory,
        "peak_gpu_memory": state.costs.peak_gpu_memory,
        "device": run.device.type,
        "processes": run.observations.team.size,
        "box_size": run.box_size,
        "pixel_size": run.pixel_size,
        "working_box_size": run.map_size,
        "symmetry": run.config.symmetry,
        "relax_symmetry": run.config.relax_symmetry,
        "flipped": run.config.flip_hand,
        "image_box_size": run.particles.box_size,
        "image_pixel_size": run.particles.pixel_size,
    }


def _spread(values: Tensor) -> float:
    return float(values.std()) if len(values) > 1 else 0.0


def _summary(run: RunContext, halves: HalfMapResult) -> dict[str, object]:
    state, split = run.state, split_resolution(run)
    control = already_set(state.tests.structure)
    is_structure = control.is_structure
    summary: dict[str, object] = {
        "resolution_half_0143": figure(halves.resolution),
        "resolution_split": None if split is None else round(split, 4),
        "halves_share": shared_by_halves(run),
        "n_particles": len(run.particles),
        "n_bad": int((particle_probabilities(run) < 0.5).sum()),
        "gain_spread": round(_spread(run.observations.gain[particle_probabilities(run).to(run.device) >= 0.5]), 4),
        "log_likelihood": [round(value, 4) for value in state.starts.log_likelihoods],
        **run_figures(run),
        "hand": "undecided" if run.config.poses == "unknown" and run.config.reference is None else "as given",
    }
    if run.vote is not None:
        summary["contrast"] = run.vote.contrast
        summary["share_white"] = round(run.vote.share_white, 4)
    summary["structure_found"] = is_structure
    summary["resolved"] = is_structure and split is not None and halves.resolution < split
    summary["noise_control"] = {
        name: value if name == "n_images" else round(value, 4) for name, value in asdict(control).items()
    }
    summary |= defocus_figures(run)
    summary["symmetry_test"] = symmetry_test(run)
    summary["start_agreement"] = [round(value, 3) for value in state.starts.agreement]
    summary["warnings"] = _warnings(run)
    summary["verdict"] = _verdict(run, halves.resolution)
    return summary


def _warnings(run: RunContext) -> list[str]:
    """Return warnings about the run in plain words."""
    found = [*run.particles.remarks.notes, *symmetry_warnings(run)]
    others = sorted(run.state.starts.agreement)[:-1]
    apart = starts_with_another_map(others)
    if apart:
        found.append(
            f"{apart} of {len(others)} other starts ended in another coarse map than the best one (correlation "
            f"below {SAME_MAP:g}, the lowest {others[0]:.2f}): run again with another --seed and compare the maps"
        )
    return found


def _verdict(run: RunContext, resolution: float) -> str:
    """Return the verdict of the run in one line, with advice if it is poor."""
    starts, control = run.state.starts.agreement, already_set(run.state.tests.structure)
    split = split_resolution(run)
    if not control.is_structure:
        return (
            f"no structure found: {control.n_images} images not used for the coarse map fit it better than "
            f"pure noise by {control.gain:.2g} ± {control.gain_error:.2g} nat, too little to tell poses; the maps show "
            "aligned noise. Check that these are particles, their contrast and their CTF, or use more images"
        )
    if math.isinf(resolution):
        return "not resolved: the half maps agree nowhere; try more starts, more images, or another mask diameter"
    text = f"half maps agree to {resolution:.2f} Å"
    if split is None:
        return (
            f"not confirmed: {text} at the poses of the input, but both halves may share what these were fitted to, "
            "noise included, at any resolution. --poses from-input starts each half again from a low-passed map"
        )
    if not resolution < split:
        return (
            f"not resolved: half maps agree to {resolution:.1f} Å, but they are independent only beyond {split:.1f} Å; "
            "try more starts, more images, or another mask diameter"
        )
    text += verdict_on_symmetry(run)
    if run.config.poses == "from-input":
        text += f", independently beyond {split:.1f} Å"
    if len(starts) > 1:
        agree = len(starts) - starts_with_another_map(starts)
        text += f"; {agree} of {len(starts)} starts found the same coarse map"
        if agree == 1:
            text += ", so run again with another --seed to be sure"
    n_bad = int((particle_probabilities(run) < 0.5).sum())
    if n_bad:
        text += f"; {n_bad} of {len(run.particles)} images look like noise (bad_particles.txt)"
    if resolution <= 2.02 * run.pixel_size:
        text += "; that is Nyquist: smaller pixels may show more"
    elif run.boxes.is_limited and resolution <= 1.02 * run.resolution(run.boxes.radius):
        limit = "the limit of memory" if run.config.final_resolution is None else "--final-resolution"
        text += f"; that is what {limit} allows: the images may show more"
    elif ends_by_cost(run) and resolution <= 1.05 * run.resolution(run.state.band.radius):
        text += "; sums over all poses, which images this weak need, end there for their cost: the images may show more"
    return text
