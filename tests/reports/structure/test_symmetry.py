"""``resmfn symmetry`` on files, and what reports say of it."""

import json

import pytest
import torch

from reports.example_run import make_run
from resmfn.cli.main import main
from resmfn.core import InputError, make_generator
from resmfn.data import read_map, write_map
from resmfn.physics.phantoms.blobs import GaussianBlobs
from resmfn.reports.report import report
from resmfn.reports.structure.symmetry import symmetry, symmetry_table
from resmfn.rotations import exp_so3, point_group

SIZE, PIXEL = 36, 2.0
FRAME = exp_so3(torch.tensor([0.5, -0.3, 0.8], dtype=torch.float64))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a folder with a threefold map off center, map.mrc, and its halves without mask."""
    folder = tmp_path_factory.mktemp("threefold")
    generator = make_generator(0)
    unit = GaussianBlobs.random(6, radius=4.0, width=1.3, generator=generator, dtype=torch.float64)
    place = torch.tensor([7.0, 0.0, 1.5], dtype=torch.float64)
    centers = [(unit.centers + place) @ turn.T @ FRAME.T + 0.7 for turn in point_group("C3")]
    ring = GaussianBlobs(
        centers=torch.cat(centers), widths=unit.widths.repeat(3), amplitudes=unit.amplitudes.repeat(3)
    ).volume(SIZE)
    halves = [ring + 0.02 * torch.randn(ring.shape, generator=generator) for _ in range(2)]
    for name, volume in (("map", sum(halves) / 2), ("half1_unfil", halves[0]), ("half2_unfil", halves[1])):
        write_map(folder / f"{name}.mrc", volume, PIXEL)
    return folder


@pytest.fixture(scope="module")
def found(files):
    out = files / "turned.mrc"
    names = ("map.mrc", "half1_unfil.mrc", "half2_unfil.mrc")
    return symmetry(*(files / name for name in names), out=out), read_map(out).data


def test_the_map_is_turned_into_the_setting_of_its_group(found):
    """The threefold axis then runs along z through the middle: a turn by 120 degrees about it changes little."""
    result, turned = found
    assert result.group.name == "C3"
    z, y, x = torch.meshgrid(*(torch.arange(SIZE, dtype=torch.float64) - SIZE // 2,) * 3, indexing="ij")
    points = torch.stack((x, y, z), -1) @ point_group("C3")[1].T
    grid = ((points + SIZE // 2) * 2 / (SIZE - 1) - 1)[None].float()
    copy = torch.nn.functional.grid_sample(turned[None, None], grid, align_corners=True)[0, 0]
    assert float(torch.corrcoef(torch.stack((turned.flatten(), copy.flatten())))[0, 1]) > 0.9


def test_it_is_said_in_words_and_band_by_band(found):
    text = symmetry_table(found[0])
    assert text.startswith("C3: copies agree to")
    assert len(text.splitlines()) == len(found[0].group.bands) + 7
    assert "random turns" in text


def test_a_run_folder_gets_symmetry_json_and_the_report_says_so(found, files, tmp_path):
    run = make_run(tmp_path / "run", symmetry="C1", hand="undecided")
    (run / "symmetry.json").write_text(json.dumps(found[0].to_dict()))
    page = report(run).read_text()
    for words in ("The map shows C3", "--symmetry C3", "Symmetry of the map", "The hand is undecided", "SCF*", "cFAR"):
        assert words in page
    page = report(make_run(tmp_path / "imposed", symmetry="C2")).read_text()
    assert "C2 was imposed" in page
    assert "The hand is undecided" not in page


def test_what_cannot_be_used_is_one_line(files, capsys):
    with pytest.raises(InputError, match="give both"):
        symmetry(files / "map.mrc", files / "half1_unfil.mrc")
    with pytest.raises(InputError, match="of its own"):
        symmetry(files, files / "half1_unfil.mrc", files / "half2_unfil.mrc")
    assert main(["symmetry", str(files / "absent.mrc")]) == 2
    assert main(["symmetry", str(files / "map.mrc"), "--out", str(files / "map.mrc")]) == 2
    assert "already exists" in capsys.readouterr().err
