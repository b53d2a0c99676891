"""The picture: whole for every combination of parts, and drawn without touching matplotlib's global state."""

import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from resmfn.evaluation import FscCurve, MapAlignment, MapComparison, compare_poses, evaluate_run
from resmfn.reports.figures import _compose, draw_evaluation
from resmfn.reports.html.pictures import graticule, view_sphere
from resmfn.reports.tables import resolution_ticks
from resmfn.rotations import random_rotations


def curve(values):
    values = torch.as_tensor(values, dtype=torch.float64)
    return FscCurve(torch.arange(len(values), dtype=torch.float64) / 48, values)


def maps(correlation, generator):
    alignment = MapAlignment(torch.eye(3).double(), torch.zeros(3).double(), 1, 0.9, 0.1, 1.5)
    return MapComparison(
        alignment, curve(correlation), curve(correlation), torch.randn(32, 32, 32, generator=generator)
    )


def poses(error_generator, n=50):
    true = random_rotations(n, generator=error_generator, dtype=torch.float64)
    return compare_poses(true, true), true


def texts(figure):
    """Every piece of text that stands in a figure."""
    FigureCanvasAgg(figure).draw()
    return " | ".join(t.get_text() for t in figure.findobj(lambda artist: hasattr(artist, "get_text")) if t.get_text())


@pytest.mark.parametrize("with_maps", [True, False])
@pytest.mark.parametrize("with_poses", [True, False])
@pytest.mark.parametrize("with_views", [True, False])
def test_every_combination_of_parts_makes_a_picture(with_maps, with_poses, with_views, generator, tmp_path):
    if not with_maps and not with_poses:
        return
    compared, rotation = poses(generator)
    evaluation = evaluate_run(
        maps(torch.linspace(1, 0, 17), generator) if with_maps else None,
        compared if with_poses else None,
        rotation if with_views else None,
    )
    draw_evaluation(tmp_path / "a.png", evaluation, torch.randn(32, 32, 32, generator=generator) if with_maps else None)
    pixels = imread(tmp_path / "a.png")
    assert pixels.shape[0] > 400
    assert pixels[..., :3].std() > 0.05
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_picture_says_the_figures(generator):
    compared, rotation = poses(generator)
    evaluation = evaluate_run(maps(torch.linspace(1, 0, 17), generator), compared, rotation)
    half_maps = {"unmasked": curve(torch.linspace(1, -1, 17)), "corrected": curve(torch.linspace(1, 0.2, 17))}
    said = texts(_compose(evaluation, torch.randn(32, 32, 32, generator=generator), half_maps))
    for expected in (
        "with mask: 6.00 Å at 0.5, 3.50 Å at 0.143",
        "half maps: 3.00 Å (Nyquist) at 0.143",
        "spatial frequency (1/Å)",
        "resolution (Å)",
        "xy section",
        "aligned map (to 6.0 Å)",
        "10 Å",
        "Viewing directions of 50 images, in the reference's frame",
        "median 0.00°",
        "rotation error (degrees)",
    ):
        assert expected in said


def test_a_map_that_agrees_nowhere_is_drawn_all_the_same(generator):
    evaluation = evaluate_run(maps(torch.zeros(17), generator))
    said = texts(_compose(evaluation, torch.randn(32, 32, 32, generator=generator), {}))
    assert "with mask: none" in said


def test_a_map_of_more_voxels_than_a_quantile_takes_is_drawn(generator, monkeypatch):
    box = 258
    monkeypatch.setattr("resmfn.reports.figures.enclosing_diameter", lambda *_: 1e3)  # sorts voxels, for seconds
    compared = replace(maps(torch.zeros(17), generator), aligned=torch.randn(box, box, box, generator=generator))
    reference = torch.randn(box, box, box, generator=generator)
    figure = _compose(evaluate_run(compared), reference, {})
    images = figure.findobj(lambda artist: hasattr(artist, "get_clim") and hasattr(artist, "get_extent"))
    assert len(images) == 6
    for image in images:  # the 0.02 and 0.998 quantiles of a normal distribution
        assert image.get_clim() == pytest.approx((-2.054, 2.878), abs=0.02)


def test_errors_beyond_the_axis_stand_in_its_last_bar(generator):
    true = random_rotations(100, generator=generator, dtype=torch.float64)
    estimated = true.clone()
    estimated[:10] = random_rotations(10, generator=generator, dtype=torch.float64)
    compared = compare_poses(estimated, true)
    figure = _compose(evaluate_run(None, compared), None, {})
    axes = next(a for a in figure.findobj(lambda artist: hasattr(artist, "patches")) if len(a.patches) == 60)
    assert sum(patch.get_height() for patch in axes.patches) == pytest.approx(100)
    beyond = float((compared.alignment.errors_deg > 29.5).double().mean())
    assert axes.patches[-1].get_height() == pytest.approx(100 * beyond)
    assert beyond > 0.05


@pytest.mark.parametrize("nyquist", [1 / 2.2, 1 / 3, 1 / 7, 1 / 20])
def test_resolution_ticks_lie_on_the_axis_and_apart(nyquist):
    ticks = resolution_ticks(nyquist)
    assert len(ticks) >= 3
    positions = [1 / t for t in ticks]
    assert max(positions) <= nyquist * 1.001
    assert min(b - a for a, b in zip(positions, positions[1:], strict=False)) > 0.05 * nyquist
    assert math.isfinite(sum(positions))


def test_no_window_system_is_asked_for():
    look = "import sys, resmfn.reports.figures, resmfn.reports; sys.exit('matplotlib.pyplot' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", look], check=True, env=environment)


def test_the_sphere_of_views_keeps_areas_and_its_graticule_stays_within() -> None:
    """Of uniform views each pixel inside is near 1; inside and outside divide the picture as an ellipse does."""
    density = view_sphere(random_rotations(4000, generator=torch.Generator().manual_seed(3)), width=120)
    inside = ~np.isnan(density)
    assert inside.mean() == pytest.approx(math.pi / 4, abs=0.01)
    assert density[inside].mean() == pytest.approx(1, abs=0.02)
    lines, labels = graticule()
    assert len(lines) == 10
    assert [text for _, text in labels] == ["-120°", "-60°", "0°", "60°", "120°"]
    points = np.concatenate(lines)
    assert (points[:, 0] ** 2 + points[:, 1] ** 2).max() < 1 + 1e-6
