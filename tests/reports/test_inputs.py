"""Reading what is to be compared."""

import pytest
import torch

from resmfn.core import InputError
from resmfn.data import Table, read_particles, write_map, write_star
from resmfn.evaluation import FscCurve, fsc_csv_text
from resmfn.reports.inputs import find_run, match_particles, read_fsc_table, read_map_pair, read_mask, read_poses


def particles(path, names):
    columns = {"rlnAngleRot": ["0"] * len(names), "rlnAngleTilt": ["0"] * len(names), "rlnAnglePsi": ["0"] * len(names)}
    if names[0] is not None:
        columns = {"rlnImageName": names, **columns}
    write_star(path, {"particles": Table(columns)})
    return read_particles(path, with_images=False)


def write_box(path, size, pixel_size=2.0):
    write_map(path, torch.arange(size**3, dtype=torch.float32).reshape(size, size, size), pixel_size)
    return path


@pytest.mark.parametrize(
    ("names", "true_names", "rows"),
    [
        (["2@a.mrcs", "1@a.mrcs"], ["1@a.mrcs", "2@a.mrcs", "3@a.mrcs"], [1, 0]),
        (["000002@Extract/a.mrcs", "000001@Extract/a.mrcs"], ["1@a.mrcs", "2@a.mrcs"], [1, 0]),
        (["1@one/a.mrcs", "1@two/a.mrcs"], ["1@two/a.mrcs", "1@one/a.mrcs"], [1, 0]),  # told apart by their folders
        (["b.mrc", "a.mrc"], ["1@x/a.mrc", "1@x/b.mrc"], [1, 0]),
        ([None, None], [None, None], [0, 1]),
    ],
)
def test_images_are_matched_by_name_whatever_the_order(tmp_path, names, true_names, rows):
    estimated, true = particles(tmp_path / "est.star", names), particles(tmp_path / "true.star", true_names)
    assert match_particles(estimated, true).tolist() == rows


@pytest.mark.parametrize(
    ("names", "true_names", "message"),
    [
        (
            ["1@a.mrcs", "7@a.mrcs"],
            ["1@a.mrcs"],
            r"est\.star: 1 of 2 images are not in .*true\.star, the first 7@a\.mrcs",
        ),
        (["1@a.mrcs"], ["1@a.mrcs", "1@a.mrcs"], r"true\.star: the image 1@a\.mrcs is listed twice"),
        (["1@c/a.mrcs"], ["1@x/a.mrcs", "1@y/a.mrcs"], r"the image 1@a\.mrcs is listed twice"),
        ([None, None], [None], r"est\.star: 2 particles, .*true\.star: 1, and no rlnImageName"),
    ],
)
def test_images_without_one_partner_are_refused(tmp_path, names, true_names, message):
    estimated, true = particles(tmp_path / "est.star", names), particles(tmp_path / "true.star", true_names)
    with pytest.raises(InputError, match=message):
        match_particles(estimated, true)


def test_a_star_file_without_angles_has_no_poses(tmp_path):
    write_star(tmp_path / "a.star", {"particles": Table({"rlnImageName": ["1@a.mrcs"]})})
    with pytest.raises(InputError, match="poses are needed, but rlnAngleRot"):
        read_poses(tmp_path / "a.star")


def test_a_folder_may_hold_only_a_part_of_a_run(tmp_path):
    write_box(tmp_path / "map.mrc", 4)
    found = find_run(tmp_path)
    assert (found.map, found.particles, found.fsc) == (tmp_path / "map.mrc", None, None)


@pytest.mark.parametrize(
    ("size", "pixel_size", "message"),
    [
        (8, 1.5, r"a\.mrc: 1\.5 Å per voxel, but 2 in .*b\.mrc; correct the wrong header, or give --pixel-size"),
        (10, 2.0, r"a\.mrc: a box of 10 voxels, 20 Å, but .*b\.mrc has 8 voxels, 16 Å; crop, pad or resample"),
    ],
)
def test_maps_on_grids_that_do_not_fit_are_refused(tmp_path, size, pixel_size, message):
    a, b = write_box(tmp_path / "a.mrc", size, pixel_size), write_box(tmp_path / "b.mrc", 8)
    with pytest.raises(InputError, match=message):
        read_map_pair(a, b)


def test_a_pixel_size_given_overrules_both_headers(tmp_path):
    a, b = write_box(tmp_path / "a.mrc", 8, 1.5), write_box(tmp_path / "b.mrc", 8)
    assert [m.pixel_size for m in read_map_pair(a, b, 3.0)] == [3.0, 3.0]


@pytest.mark.parametrize("swapped", [False, True])
def test_boxes_of_one_length_meet_on_the_coarser_grid(tmp_path, swapped):
    a, b = write_box(tmp_path / "a.mrc", 16, 1.0), write_box(tmp_path / "b.mrc", 8, 2.0)
    first, second = read_map_pair(b, a) if swapped else read_map_pair(a, b)
    assert first.box_size == second.box_size == 8
    assert first.pixel_size == second.pixel_size == 2.0
    fine = second if swapped else first
    assert fine.data.mean() == pytest.approx((16**3 - 1) / 2, rel=1e-3)  # grey values stay


def test_masks_are_a_file_or_a_diameter_but_not_both(tmp_path):
    like, _ = read_map_pair(write_box(tmp_path / "a.mrc", 16), write_box(tmp_path / "b.mrc", 16))
    assert read_mask(None, None, like) is None
    assert read_mask(None, 10.0, like)[8, 8, 8] == 1
    with pytest.raises(InputError, match="exclude each other"):
        read_mask(tmp_path / "b.mrc", 10.0, like)
    with pytest.raises(InputError, match=r"c\.mrc: the mask has 8 voxels a side, the map 16"):
        read_mask(write_box(tmp_path / "c.mrc", 8), None, like)


def test_a_table_of_curves_comes_back_as_it_was(tmp_path):
    frequency = torch.tensor([0.0, 0.1, 0.2], dtype=torch.float64)
    curve = FscCurve(frequency, torch.tensor([1.0, 0.5, -0.25], dtype=torch.float64))
    (tmp_path / "fsc.csv").write_text(fsc_csv_text({"corrected": curve}))
    found = read_fsc_table(tmp_path / "fsc.csv")
    assert list(found) == ["corrected"]
    torch.testing.assert_close(found["corrected"].frequency, frequency)
    torch.testing.assert_close(found["corrected"].correlation, curve.correlation)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "no column named frequency"), ("a,b\n1,2\n", "no column named"), ("frequency,x\n0.1,?\n", "is not a number")],
)
def test_other_tables_are_refused(tmp_path, text, message):
    (tmp_path / "fsc.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_fsc_table(tmp_path / "fsc.csv")


@pytest.mark.parametrize(
    ("values", "pixel_size", "message"),
    [
        (torch.linspace(0, 1.1, 512), 2.0, "between 0 and 1, got 0 to 1.1"),
        (torch.linspace(-0.1, 1, 512), 2.0, "between 0 and 1, got -0.1 to 1"),
        (torch.zeros(512), 2.0, "0 everywhere"),
        (torch.linspace(0, 1, 512), 2.5, "2.5 Å per voxel, but 2 in the map"),
    ],
)
def test_what_is_no_mask_of_the_map_is_refused(tmp_path, values, pixel_size, message):
    like = read_map_pair(*[write_box(tmp_path / "a.mrc", 8)] * 2)[0]
    write_map(tmp_path / "mask.mrc", values.reshape(8, 8, 8), pixel_size)
    with pytest.raises(InputError, match=message):
        read_mask(tmp_path / "mask.mrc", None, like)


def test_a_mask_takes_the_voxel_size_that_is_given_and_what_rounding_leaves(tmp_path):
    like = read_map_pair(*[write_box(tmp_path / "a.mrc", 8)] * 2)[0]
    values = torch.linspace(-1e-4, 1 + 1e-4, 512).reshape(8, 8, 8)
    write_map(tmp_path / "mask.mrc", values, 2.5)
    torch.testing.assert_close(read_mask(tmp_path / "mask.mrc", None, like, 2.0), values.clamp(0, 1))
