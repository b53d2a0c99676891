"""Sets as microscopes leave them, whole runs: optics groups that differ, masks in a smaller box."""

from pathlib import Path

import resmfn
from resmfn.data import Table, read_map, read_particles, read_star, write_map, write_star
from resmfn.evaluation import fourier_shell_correlation
from resmfn.fourier import resize_map, soft_mask_from_support
from resmfn.reconstruction import ReconstructionConfig

BOX, PIXEL_SIZE = 32, 3.0
QUICK = {"shift_range": 0.0, "mask_diameter": 84.0, "hidden_dim": 96, "network_steps": 30, "n_starts": 1}


def simulated(folder: Path, **settings: object) -> Path:
    """Simulate images of 4AKE, and return the STAR file with their poses.

    So near to focus that the CTF spreads nothing beyond the box: what it wraps around differs from box to box.
    """
    settings = {"box_size": BOX, "pixel_size": PIXEL_SIZE, "snr": 0.5, "n_projections": 200} | settings
    settings = {"defocus_range": (3000.0, 6000.0)} | settings
    resmfn.simulate(resmfn.SimulationConfig(source="4ake", out=folder, **settings))
    return folder / "particles_true.star"


def merged(stars: list[Path], out: Path) -> Path:
    """Write the rows of several sets, each of one optics group, as one set with as many groups."""
    optics: dict[str, list[str]] = {}
    rows: dict[str, list[str]] = {}
    for number, star in enumerate(stars, start=1):
        tables = read_star(star)
        group, particles = tables["optics"], tables["particles"]
        for name in group.columns:
            optics.setdefault(name, []).extend([str(number)] if name == "rlnOpticsGroup" else group[name])
        for name in particles.columns:
            cells = list(particles[name])
            if name == "rlnOpticsGroup":
                cells = [str(number)] * len(cells)
            if name == "rlnImageName":
                cells = [cell.replace("@", f"@{star.parent.name}/") for cell in cells]
            rows.setdefault(name, []).extend(cells)
    write_star(out, {"optics": Table(optics), "particles": Table(rows)})
    return out


def test_groups_of_other_voltage_pixel_size_and_box_make_one_map(tmp_path) -> None:
    """Taken at the other group's voltage or pixel size, either half of the images would spoil the map."""
    stars = [
        simulated(tmp_path / "a", voltage=300.0, seed=1),
        simulated(tmp_path / "b", voltage=200.0, box_size=40, pixel_size=2.5, seed=2),
    ]
    star = merged(stars, tmp_path / "both.star")
    result = resmfn.reconstruct(ReconstructionConfig(particles=star, out=tmp_path / "run", poses="fixed", **QUICK))
    assert (result.summary["image_box_size"], result.summary["image_pixel_size"]) == (32, 3.0)
    truth = read_map(tmp_path / "a" / "volume.mrc").data
    found = read_map(result.run / "map.mrc")
    assert fourier_shell_correlation(found.data, truth, PIXEL_SIZE).resolution_at(0.5) < 6.7
    written = read_particles(result.run / "particles.star", with_images=False)
    assert sorted(set(written.pixel_sizes.tolist())) == [2.5, 3.0]  # of the images as they are stored


def test_a_mask_file_of_the_images_is_used_in_a_smaller_box(tmp_path) -> None:
    star = simulated(tmp_path / "a", box_size=48, pixel_size=2.0)
    truth = read_map(tmp_path / "a" / "volume.mrc").data
    mask = soft_mask_from_support(truth > 0.1 * truth.max(), 3.0, 3.0)
    write_map(tmp_path / "mask.mrc", mask, 2.0)
    config = ReconstructionConfig(
        particles=star, out=tmp_path / "run", poses="fixed", box_size=BOX, mask=tmp_path / "mask.mrc", **QUICK
    )
    result = resmfn.reconstruct(config)
    found = read_map(result.run / "map.mrc")
    assert (found.box_size, found.pixel_size) == (BOX, 3.0)
    assert float(found.data[resize_map(mask, BOX) < 1e-3].abs().max()) < 0.02 * float(found.data.max())
    assert fourier_shell_correlation(found.data, resize_map(truth, BOX), 3.0).resolution_at(0.5) < 6.7
