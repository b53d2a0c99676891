"""The files that a finished run leaves."""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.core.random import spawn
from resmfn.data import write_map, write_particles
from resmfn.evaluation import HalfMapResult, fsc_csv_text, half_map_resolution
from resmfn.fourier import low_pass
from resmfn.reconstruction.network_map import NetworkMap
from resmfn.reconstruction.pipeline import HALVES, Pipeline
from resmfn.reconstruction.run_folder import RunFolder

AGREEMENT = 1.0
"""Starts whose log-likelihood is within this of the best are said to agree with it."""


def write_results(folder: RunFolder, pipeline: Pipeline) -> dict[str, object]:
    """Write maps, poses, curves and summary; return the summary."""
    state, full = pipeline.state, pipeline.full
    mask = pipeline.mask_on(full).cpu()
    grey = float(pipeline.observations.noise_level.median())
    maps = {name: state.references[name].cpu() * grey for name in (*HALVES, "joint")}
    halves = half_map_resolution(
        maps["half1"], maps["half2"], mask, pipeline.pixel_size, generator=spawn(pipeline.config.seed, "phases")
    )
    for name in HALVES:
        write_map(folder.path / f"{name}.mrc", maps[name], pipeline.pixel_size)
    write_map(folder.path / "map.mrc", maps["joint"], pipeline.pixel_size)
    write_map(folder.path / "map_filtered.mrc", _filtered(pipeline, maps["joint"], halves), pipeline.pixel_size)
    network = NetworkMap.from_state(state.networks["joint"], device=pipeline.device)
    for scale in range(1, network.n_scales + 1):
        with torch.no_grad():
            bare = network.decode(full, scale).cpu() * grey
        write_map(folder.path / f"map_scale{scale}.mrc", bare, pipeline.pixel_size)
    _write_poses(folder, pipeline)
    curves = halves.curves
    folder.write_text(
        "fsc.csv",
        fsc_csv_text(
            {
                "corrected": curves.corrected,
                "masked": curves.masked,
                "unmasked": curves.unmasked,
                "randomized": curves.randomized,
            }
        ),
    )
    summary = _summary(pipeline, halves)
    folder.write_json("summary.json", summary)
    return summary


def _filtered(pipeline: Pipeline, volume: Tensor, halves: HalfMapResult) -> Tensor:
    side = pipeline.box_size * pipeline.pixel_size
    cutoff = min(side / halves.resolution, pipeline.box_size / 2)
    return low_pass(volume, cutoff, 2.0)


def _write_poses(folder: RunFolder, pipeline: Pipeline) -> None:
    state = pipeline.state
    particles = pipeline.particles
    if pipeline.config.poses != "fixed":
        assert state.rotation is not None and state.shift is not None  # noqa: S101 - every phase has set them
        particles = particles.with_poses(state.rotation.double().cpu(), state.shift.double().cpu())
    subset = torch.ones(len(particles), dtype=torch.int64)
    subset[pipeline.half_index[1].cpu()] = 2
    columns = {"rlnRandomSubset": subset, "rlnMaxValueProbDistribution": state.max_probability.double().cpu()}
    write_particles(folder.path / "particles.star", particles.with_columns(columns))


def _summary(pipeline: Pipeline, halves: HalfMapResult) -> dict[str, object]:
    state = pipeline.state
    split = pipeline.box_size * pipeline.pixel_size / state.split_radius
    summary: dict[str, object] = {
        "resolution_half_0143": round(halves.resolution, 4),
        "resolution_split": round(split, 4),
        "n_particles": len(pipeline.particles),
        "seconds": round(state.seconds, 2),
        "cpu_seconds": round(state.cpu_seconds, 2),
        "peak_memory": state.peak_memory,
        "log_likelihood": [round(value, 4) for value in state.log_likelihoods],
        "device": str(pipeline.device),
        "box_size": pipeline.box_size,
        "pixel_size": pipeline.pixel_size,
    }
    summary["verdict"] = _verdict(pipeline, halves.resolution, split)
    return summary


def _verdict(pipeline: Pipeline, resolution: float, split: float) -> str:
    """Say in a line what the figures say, and what to do if they say little."""
    starts = pipeline.state.log_likelihoods
    text = f"half maps agree to {resolution:.2f} Å"
    if not resolution < split:
        return (
            f"not resolved: half maps agree to {resolution:.1f} Å, no finer than the {split:.1f} Å that they share; "
            "try more starts, more images, or another mask diameter"
        )
    if len(starts) > 1:
        agree = sum(value > max(starts) - AGREEMENT for value in starts)
        text += f"; {agree} of {len(starts)} starts found the best likelihood"
        if agree == 1:
            text += ", so run again with another --seed to be sure"
    if resolution <= 2.02 * pipeline.pixel_size:
        text += "; that is Nyquist: finer pixels may show more"
    return text
