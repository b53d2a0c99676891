"""What EMDB asks for, from the files of a run: all there, units right, and said honestly."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from reports.exports.finished import BOX, PIXEL, N, make_finished
from resmfn.cli.main import main
from resmfn.core import InputError
from resmfn.data import read_map, write_map
from resmfn.fourier import radius_grid
from resmfn.reports.exports.deposit import deposit
from resmfn.reports.exports.entry_image import draw_surface

ASKED_FOR = ["fsc.xml", "half_map_1.mrc", "half_map_2.mrc", "image.png", "mask.mrc", "methods.txt", "primary_map.mrc"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_finished(tmp_path)


def change(run: Path, name: str, **values: object) -> None:
    path = run / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_everything_that_emdb_asks_for_is_there(run, tmp_path) -> None:
    deposit(run, tmp_path / "emdb")
    folder = tmp_path / "emdb"
    assert sorted(path.name for path in folder.iterdir()) == ASKED_FOR
    for source, name in (
        ("map_sharpened", "primary_map"),
        ("half1_unfil", "half_map_1"),
        ("half2_unfil", "half_map_2"),
    ):
        assert torch.equal(read_map(folder / f"{name}.mrc").data, read_map(run / f"{source}.mrc").data)
    maps = [read_map(path) for path in folder.glob("*.mrc")]
    assert {(density.box_size, density.pixel_size) for density in maps} == {(BOX, PIXEL)}
    root = ElementTree.parse(folder / "fsc.xml").getroot()
    assert root.attrib["xaxis"] == "Resolution (A-1)"
    assert [float(x.text) for x in root.iter("x")] == pytest.approx(
        [k / (BOX * PIXEL) for k in range(BOX // 2 + 1)], abs=1e-6
    )
    with Image.open(folder / "image.png") as image:
        assert image.size == (500, 500)


def test_the_text_has_figures_units_and_versions(run, tmp_path) -> None:
    text = deposit(run, tmp_path / "emdb").text
    assert (tmp_path / "emdb/methods.txt").read_text() == text
    contour = json.loads((run / "validation.json").read_text())["contour_level"]
    for said in (
        "7.20 Å: FSC 0.143", f"Contour level           {contour:.5g}", "24 a side, of 3 Å",
        f"Particles               {N}", "2 of them look like noise", "200, 300 kV", "1.4, 2.7 mm", "0.07, 0.1",
        "1.49 to 1.50 µm", "resmfn 0.1.0", "torch 2.13.0", "independent beyond 15.50 Å", "C1: none imposed",
        "without a starting model", "Random seed             5", "resmfn reconstruct particles.star --out run",
    ):  # fmt: skip
        assert said in text, said
    assert "NOT DETERMINED" in text


@pytest.mark.parametrize(
    ("file", "values", "said"),
    [
        ("summary.json", {"resolved": False}, "NONE CAN BE CLAIMED"),
        ("summary.json", {"flipped": True}, "mirror image of the one that the run found"),
        ("summary.json", {"symmetry": "D2"}, "D2: imposed in both half maps, so that the map cannot be evidence of it"),
        ("summary.json", {"resolution_half_0143": 6.0}, "that is Nyquist"),
        ("summary.json", {"warnings": ["odd box"]}, "odd box"),
        ("summary.json", {"hand": "as given"}, "that of the poses or the reference that the run was given"),
    ],
)
def test_what_a_referee_would_ask_is_said(run, tmp_path, file, values, said) -> None:
    change(run, file, **values)
    assert said in deposit(run, tmp_path / "emdb").text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("poses: fixed\n", "taken from the particle file and not changed"),
        ("poses: from-input\n", "turned at random by as much"),
        ("reference: /a/start.mrc\nini_high: 25.0\n", "from the map start.mrc, filtered at 25 Å"),
    ],
)
def test_where_poses_came_from_is_said(run, tmp_path, settings, said) -> None:
    (run / "config.yaml").write_text(settings)
    assert said in deposit(run, tmp_path / "emdb").text


@pytest.mark.parametrize("resolved", [True, False])  # true in runs before poses that are kept were judged
def test_poses_that_were_kept_confirm_no_resolution(run, tmp_path, resolved) -> None:
    (run / "config.yaml").write_text("poses: fixed\n")
    change(run, "summary.json", resolution_split=None, resolved=resolved)
    text = deposit(run, tmp_path / "emdb").text
    assert "NONE CAN BE CLAIMED" in text
    assert "the resolution is not to be told" in text
    assert "share these poses" in text
    assert "not known" not in text
    assert "independent half maps" not in text


def test_a_class_has_the_provenance_of_its_run_and_says_which_it_is(run, tmp_path) -> None:
    rows = [{"folder": "class1"}, {"folder": "class2"}]
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "summary.json").write_text(json.dumps({"classes": rows, "n_particles": 4000, "structure_found": True}))
    shutil.move(run, whole / "class2")
    (whole / "class2/provenance.json").rename(whole / "provenance.json")
    text = deposit(whole / "class2", tmp_path / "emdb").text
    assert "resmfn reconstruct particles.star --out run" in text
    assert "reconstructed with resmfn 0.1.0. They are those of class 2 of 2, into which the run divided 4,000" in text
    with pytest.raises(InputError, match="such as .*whole/class1"):
        deposit(whole, tmp_path / "other")


def test_what_was_asked_of_symmetry_is_said(run, tmp_path) -> None:
    change(run, "summary.json", relax_symmetry="C4")
    assert "C1: none imposed; C4 was relaxed" in deposit(run, tmp_path / "relaxed").text
    (run / "symmetry.json").write_text(json.dumps({"group": {"name": "C2"}, "is_decidable": True}))
    text = deposit(run, tmp_path / "looked").text
    assert "shows C2 (symmetry.json)" in text
    assert "none looked for" not in text


@pytest.mark.parametrize(
    "summary",
    [{"resolved": False, "resolution_split": 6.0}, {"resolution_split": 6.0}, {"resolution_half_0143": None},
     {"resolution_split": None}],
)  # fmt: skip
def test_a_run_that_confirms_no_resolution_gives_none_of_its_parts(run, tmp_path, summary) -> None:
    assert "Local resolution" in deposit(run, tmp_path / "resolved").text
    change(run, "summary.json", **summary)
    text = deposit(run, tmp_path / "emdb").text
    assert "NONE CAN BE CLAIMED" in text
    assert "the resolution is not to be told" in text
    for said in ("Local resolution", "By direction", "not known"):
        assert said not in text


def mask_half(run: Path) -> None:
    mask = read_map(run / "mask.mrc").data
    write_map(run / "half2_unfil.mrc", read_map(run / "half2_unfil.mrc").data * (mask > 0.01), PIXEL)


@pytest.mark.parametrize(
    ("break_it", "fault"),
    [
        (lambda run: (run / "summary.json").unlink(), "not finished"),
        (lambda run: change(run, "summary.json", structure_found=False), "no structure"),
        (lambda run: (run / "half1_unfil.mrc").unlink(), "half1_unfil.mrc is missing"),
        (lambda run: shutil.copy(run / "half1_unfil.mrc", run / "half2_unfil.mrc"), "the same map"),
        (mask_half, "without mask"),
        (lambda run: write_map(run / "half1_unfil.mrc", read_map(run / "half1_unfil.mrc").data, 1.5), "superimpose"),
        (lambda run: change(run, "validation.json", contour_level=None), "no contour level"),
        (lambda run: change(run, "validation.json", contour_level=1e6), "no surface"),
        (lambda run: (run.parent / "emdb").write_text(""), "exists already"),
    ],
)
def test_what_emdb_would_refuse_is_refused(run, tmp_path, break_it, fault) -> None:
    break_it(run)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=fault):
        deposit(run, tmp_path / "emdb")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_prints_the_text(run, tmp_path, capsys) -> None:
    assert main(["deposit", str(run), "--out", str(tmp_path / "emdb")]) == 0
    assert "VALUES FOR THE FORM" in capsys.readouterr().out


def test_the_picture_shows_the_surface_where_it_is() -> None:
    """A ball: a disk of its size in the middle, lighter towards the light (up and left) than away from it."""
    size = 100
    picture = draw_surface((radius_grid(20, 3) < 5).float(), 0.5, size).astype(int)
    covered = (picture < 255).any(axis=2)
    assert covered.sum() == pytest.approx(np.pi * 25**2, rel=0.15)
    rows, columns = np.nonzero(covered)
    assert (rows.mean(), columns.mean()) == pytest.approx((47, 52), abs=2.5)  # voxel 10 of 20 is the origin
    grey = picture.sum(axis=2)
    assert grey[40, 40] > grey[64, 64] + 30
    assert (draw_surface(torch.zeros(8, 8, 8), 0.5, 16) == 255).all()


def test_the_picture_is_of_the_hand_of_the_map() -> None:
    """Seen from +z: what lies at +x is on the right, at +y above."""
    volume = torch.zeros(20, 20, 20)
    volume[9:12, 9:12, 14:17] = 1.0  # +x
    volume[9:12, 15:18, 9:12] = 1.0  # +y
    covered = (draw_surface(volume, 0.5, 100) < 255).any(axis=2)
    assert covered[45:50, 75:80].all()
    assert covered[15:20, 50:55].all()
    assert not covered[75:, :].any()
    assert not covered[:, :40].any()
