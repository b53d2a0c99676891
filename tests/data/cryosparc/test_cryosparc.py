"""cryoSPARC files: read into RELION's conventions, joined, written with every field, in either container."""

import json
import struct

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from resmfn.core import InputError
from resmfn.data import Supplement, Table, convert_particles, read_particles, read_star, write_particles, write_star
from resmfn.data.cryosparc.csdat import lz4_unpack, read_csdat
from resmfn.data.cryosparc.records import records_of
from resmfn.data.particles.conversion import lost_by
from resmfn.rotations import random_rotations

N = 5


@pytest.fixture
def records():
    generator = np.random.default_rng(3)
    dtype = [("uid", "<u8"), ("blob/path", "S20"), ("blob/idx", "<u4"), ("blob/shape", "<u4", (2,))]
    dtype += [("blob/psize_A", "<f4"), ("blob/sign", "<f4"), ("ctf/exp_group_id", "<u4"), ("ctf/accel_kv", "<f4")]
    dtype += [("ctf/cs_mm", "<f4"), ("ctf/amp_contrast", "<f4"), ("ctf/df1_A", "<f4"), ("ctf/df2_A", "<f4")]
    dtype += [("ctf/df_angle_rad", "<f4"), ("ctf/phase_shift_rad", "<f4"), ("ctf/tetra_A", "<f4", (4,))]
    dtype += [("alignments3D/pose", "<f4", (3,)), ("alignments3D/shift", "<f4", (2,)), ("alignments3D/psize_A", "<f4")]
    dtype += [("alignments3D/split", "<u4"), ("alignments3D/class", "<u4")]
    table = np.zeros(N, dtype)
    table["uid"] = generator.integers(2**63, 2**64, N, dtype=np.uint64)
    table["blob/path"] = b">J1/imported/a.mrcs"
    table["blob/idx"] = [2, 0, 1, 2, 0]
    table["blob/shape"], table["blob/psize_A"], table["blob/sign"] = 16, 1.5, -1
    table["ctf/accel_kv"], table["ctf/cs_mm"], table["ctf/amp_contrast"] = [300, 300, 200, 200, 300], 2.7, 0.1
    table["ctf/exp_group_id"] = [1, 1, 2, 2, 1]
    table["ctf/df1_A"], table["ctf/df2_A"] = generator.uniform(1e4, 2e4, (2, N))
    table["ctf/df_angle_rad"], table["ctf/phase_shift_rad"] = generator.uniform(0, 3, (2, N))
    table["ctf/tetra_A"] = generator.normal(size=(N, 4))
    table["alignments3D/pose"] = Rotation.random(N, random_state=1).as_rotvec()
    table["alignments3D/shift"] = generator.normal(size=(N, 2))
    table["alignments3D/psize_A"] = 3  # aligned at half the resolution
    table["alignments3D/split"] = [0, 1, 0, 1, 1]
    return table


@pytest.fixture
def cs_file(tmp_path, records, write_stack):
    (tmp_path / "J1" / "imported").mkdir(parents=True)
    write_stack(tmp_path / "J1" / "imported" / "a.mrcs")
    np.save(tmp_path / "a.npy", records)
    return (tmp_path / "a.npy").rename(tmp_path / "J1" / "particles.cs")


def test_records_are_read_in_our_conventions(cs_file, records):
    particles = read_particles(cs_file, dtype=torch.float64)
    assert (len(particles), particles.box_size, particles.pixel_size) == (N, 16, 1.5)
    assert particles.stated_sign == -1
    # In words of another library: the transpose of the rotation by the axis-angle vector.
    expected = Rotation.from_rotvec(records["alignments3D/pose"]).as_matrix().transpose(0, 2, 1)
    np.testing.assert_allclose(particles.rotations, expected, atol=1e-6)
    np.testing.assert_allclose(particles.shifts, 3 * records["alignments3D/shift"], rtol=1e-6)
    optics = particles.optics
    np.testing.assert_allclose(optics.defocus_u, records["ctf/df1_A"])
    np.testing.assert_allclose(optics.defocus_v, records["ctf/df2_A"])
    np.testing.assert_allclose(optics.defocus_angle, np.degrees(records["ctf/df_angle_rad"]), rtol=1e-6)
    np.testing.assert_allclose(optics.phase_shift, np.degrees(records["ctf/phase_shift_rad"]), rtol=1e-6)
    assert optics.voltage.tolist() == [300, 300, 200, 200, 300]
    assert len(particles.optics_table) == 2
    assert particles.table["rlnRandomSubset"] == ["1", "2", "1", "2", "2"]


def test_images_are_counted_from_0_and_marks_of_groups_taken_away(cs_file, write_stack, tmp_path):
    images = write_stack(tmp_path / "same.mrcs")
    assert torch.equal(read_particles(cs_file).read_images(slice(None)), images[[2, 0, 1, 2, 0]])


def test_shifts_in_pixels_become_longer_with_a_pixel_size_that_is_given(cs_file, records):
    """Alignments at twice the pixel of the images keep to that ratio."""
    particles = read_particles(cs_file, pixel_size=3.3, dtype=torch.float64)
    np.testing.assert_allclose(particles.shifts, 6.6 * records["alignments3D/shift"], rtol=1e-6)


def test_a_pixel_size_that_is_given_stands_in_every_field(cs_file, records, tmp_path):
    convert_particles(cs_file, tmp_path / "y.cs", pixel_size=3.3)
    convert_particles(cs_file, tmp_path / "x.star", pixel_size=3.3)
    convert_particles(tmp_path / "x.star", tmp_path / "z.cs")
    for name in ("y.cs", "z.cs"):
        again = np.load(tmp_path / name, allow_pickle=False)
        np.testing.assert_allclose(again["blob/psize_A"], 3.3, rtol=1e-6)
        np.testing.assert_allclose(again["alignments3D/psize_A"], 3.3, rtol=1e-6)
        np.testing.assert_allclose(again["alignments3D/shift"], 2 * records["alignments3D/shift"], rtol=2e-6, atol=1e-5)
    columns = read_star(tmp_path / "x.star")["particles"]
    np.testing.assert_allclose(np.array(columns["cs/blob/psize_A"], float), 3.3, rtol=1e-6)
    np.testing.assert_allclose(np.array(columns["cs/alignments3D/psize_A"], float), 6.6, rtol=1e-6)


def test_a_pixel_size_for_all_cannot_replace_several(cs_file, records):
    records["blob/psize_A"] = [1.5, 1.5, 2, 2, 1.5]
    with cs_file.open("wb") as file:
        np.save(file, records)
    with pytest.raises(InputError, match=r"--pixel-size 3\.3 cannot replace pixel sizes of 1\.5, 2 "):
        read_particles(cs_file, pixel_size=3.3, with_images=False)


def test_a_pixel_size_that_is_given_serves_a_file_without_one(cs_file, records, tmp_path):
    lacks = [name for name in records.dtype.names if not name.endswith("/psize_A")]
    with cs_file.open("wb") as file:
        np.save(file, records_of({name: records[name] for name in lacks}))
    particles = read_particles(cs_file, pixel_size=1.5, dtype=torch.float64)
    np.testing.assert_allclose(particles.shifts, 1.5 * records["alignments3D/shift"], rtol=1e-6)


def test_fields_survive_star_and_back(cs_file, records, tmp_path):
    write_particles(tmp_path / "x.star", read_particles(cs_file))
    write_particles(tmp_path / "y.cs", read_particles(tmp_path / "x.star"))
    again = np.load(tmp_path / "y.cs", allow_pickle=False)
    for name in records.dtype.names:
        if name == "alignments3D/psize_A":  # poses are written anew, in pixels of the images
            continue
        factor = 2 if name == "alignments3D/shift" else 1
        if records[name].dtype.kind == "f":
            np.testing.assert_allclose(again[name], factor * records[name], rtol=1e-5, atol=2e-6, err_msg=name)
        else:
            assert (again[name] == records[name]).all(), name


def extracted_anew(star, out):
    """Write particles as a job does that makes new images, one optics group, and keeps columns it does not know."""
    tables = read_star(star)
    groups = tables["optics"].with_columns({"rlnImageSize": ["8"] * 2, "rlnImagePixelSize": ["3.000000"] * 2})
    named = {"rlnImageName": [f"{i + 1:06d}@Polish/job9/shiny.mrcs" for i in range(N)], "rlnOpticsGroup": ["1"] * N}
    write_star(out, {"optics": groups.select([0]), "particles": tables["particles"].with_columns(named)})


def test_images_that_were_extracted_anew_take_the_place_of_cryosparcs(cs_file, records, tmp_path):
    write_particles(tmp_path / "x.star", read_particles(cs_file))
    extracted_anew(tmp_path / "x.star", tmp_path / "shiny.star")
    particles = read_particles(tmp_path / "shiny.star", with_images=False)
    write_particles(tmp_path / "y.cs", particles)
    again = np.load(tmp_path / "y.cs", allow_pickle=False)
    assert again["blob/path"].tolist() == [b"Polish/job9/shiny.mrcs"] * N
    assert again["blob/idx"].tolist() == list(range(N))
    assert again["blob/shape"].tolist() == [[8, 8]] * N
    assert again["blob/psize_A"].tolist() == [3] * N
    assert again["ctf/exp_group_id"].tolist() == [1] * N
    assert again["uid"].tolist() == records["uid"].tolist()
    assert "names other images than cs/blob/path" in lost_by(particles, tmp_path / "y.cs")[0]
    assert not lost_by(read_particles(tmp_path / "x.star", with_images=False), tmp_path / "y.cs")


def test_a_box_or_pixel_size_that_was_corrected_counts(cs_file, records, tmp_path):
    write_particles(tmp_path / "x.star", read_particles(cs_file))
    for column, cell, field, value in (
        ("rlnImagePixelSize", "1.600000", "blob/psize_A", 1.6),
        ("rlnImageSize", "12", "blob/shape", 12),
    ):
        tables = read_star(tmp_path / "x.star")
        tables["optics"] = tables["optics"].with_columns({column: [cell] * 2})
        write_star(tmp_path / "corrected.star", tables)
        write_particles(tmp_path / "y.cs", read_particles(tmp_path / "corrected.star", with_images=False))
        again = np.load(tmp_path / "y.cs", allow_pickle=False)
        assert again[field] == pytest.approx(np.full_like(again[field], value))


def test_a_stack_linked_under_relions_suffix_is_the_same(cs_file, records, tmp_path):
    records["blob/path"] = b">J1/imported/a.mrc"
    with cs_file.open("wb") as file:
        np.save(file, records)
    write_particles(tmp_path / "x.star", read_particles(cs_file))
    text = (tmp_path / "x.star").read_text()
    (tmp_path / "x.star").write_text(text.replace("@J1/imported/a.mrc ", "@J1/imported/a.mrcs "))
    write_particles(tmp_path / "y.cs", read_particles(tmp_path / "x.star"))
    again = np.load(tmp_path / "y.cs", allow_pickle=False)
    for field in ("blob/path", "blob/sign", "ctf/exp_group_id"):
        assert again[field].tolist() == records[field].tolist()


def test_new_poses_reach_the_file(cs_file, tmp_path, generator):
    rotation, shift = random_rotations(N, generator=generator), torch.randn(N, 2, generator=generator)
    write_particles(tmp_path / "y.cs", read_particles(cs_file).with_poses(rotation, shift))
    again = read_particles(tmp_path / "y.cs", tmp_path)
    torch.testing.assert_close(again.rotations, rotation, atol=2e-6, rtol=0)
    torch.testing.assert_close(again.shifts, shift, atol=2e-6, rtol=0)


def test_star_columns_survive_cs_and_back(particle_file, tmp_path):
    particles = read_particles(particle_file())
    write_particles(tmp_path / "y.cs", particles)
    again = read_particles(tmp_path / "y.cs")
    assert again.table.text("rlnMicrographName") == particles.table.text("rlnMicrographName")
    assert again.table.text("rlnImageName") == particles.table.text("rlnImageName")
    assert again.optics.defocus_u.tolist() == particles.optics.defocus_u.tolist()
    assert again.optics.voltage.tolist() == particles.optics.voltage.tolist()
    assert torch.equal(again.read_images(slice(None)), particles.read_images(slice(None)))


def through_cs(star, folder):
    """Return particles of a STAR file as they come back from a .cs file, by way of a second STAR file."""
    write_particles(folder / "y.cs", read_particles(star, with_images=False))
    write_particles(folder / "z.star", read_particles(folder / "y.cs", with_images=False))
    return read_particles(folder / "z.star", with_images=False)


def test_a_pose_in_the_plane_and_half_sets_survive_without_full_poses(particle_file, tmp_path):
    columns = {"rlnAnglePsi": "12.5", "rlnOriginXAngst": "-1.25", "rlnOriginYAngst": "3.5"}
    cells = {name: [cell] * 4 for name, cell in columns.items()} | {"rlnRandomSubset": ["1", "2", "2", "1"]}
    tables = read_star(particle_file())
    write_star(tmp_path / "p.star", {**tables, "particles": tables["particles"].with_columns(cells)})
    again = through_cs(tmp_path / "p.star", tmp_path)
    assert {name: again.table[name] for name in cells} == cells
    assert np.load(tmp_path / "y.cs")["alignments3D/split"].tolist() == [0, 1, 1, 0]


def test_microscope_and_groups_survive_without_a_defocus(particle_file, tmp_path):
    tables = read_star(particle_file())
    columns = tables["particles"].columns
    bare = {name: cells for name, cells in columns.items() if not name.startswith("rlnDefocus")}
    write_star(tmp_path / "p.star", {**tables, "particles": Table(bare | {"rlnPhaseShift": ["45.0"] * 4})})
    again = through_cs(tmp_path / "p.star", tmp_path)
    assert again.table["rlnOpticsGroup"] == columns["rlnOpticsGroup"]
    assert again.metadata.numbers("rlnPhaseShift").tolist() == [45] * 4
    for name in ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"):
        expected = np.array(tables["optics"][name], float)
        np.testing.assert_allclose(np.array(again.optics_table[name], float), expected, rtol=1e-6)


def test_poses_without_images_keep_their_pixel_size_and_box(particle_file, tmp_path):
    star = particle_file()
    poses = dict.fromkeys(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"), ["10.0"] * 4)
    tables = read_star(star)
    bare = {name: cells for name, cells in tables["particles"].columns.items() if name != "rlnImageName"}
    write_star(tmp_path / "p.star", {**tables, "particles": Table(bare | poses)})
    again = through_cs(tmp_path / "p.star", tmp_path)
    assert (again.pixel_size, again.box_size) == (1.5, 16)


@pytest.mark.parametrize("halves", ["1111", "2222", "1212", "1213"])
def test_half_sets_survive_cs_and_back_whatever_they_are(particle_file, tmp_path, halves):
    tables = read_star(particle_file())
    cells = {"rlnRandomSubset": list(halves)}
    write_star(tmp_path / "p.star", {**tables, "particles": tables["particles"].with_columns(cells)})
    assert through_cs(tmp_path / "p.star", tmp_path).table["rlnRandomSubset"] == list(halves)


@pytest.mark.parametrize("column", ["rlnMicrographName", "rlnGroupName", "rlnOther"])
@pytest.mark.parametrize("cell", ["000012", "007", "-01", "1_0", "12e1", "12", "\u0661\u0662", "1.50", "' 3'"])
def test_texts_that_look_like_numbers_survive_cs_and_back(particle_file, tmp_path, column, cell):
    """To the letter where the column holds names or Python alone sees a number; else as a number of the same value."""
    tables = read_star(particle_file())
    cells = {column: ["4", cell, "5", cell]}
    write_star(tmp_path / "p.star", {**tables, "particles": tables["particles"].with_columns(cells)})
    found = through_cs(tmp_path / "p.star", tmp_path).table.text(column)
    expected = ["4", cell.strip("'"), "5", cell.strip("'")]
    if column == "rlnOther" and cell in ("12e1", "1.50"):
        assert [float(text) for text in found] == [float(text) for text in expected]
    else:
        assert found == expected


@pytest.fixture
def of_two_groups(particle_file, tmp_path):
    """Return a STAR file of the groups 3 and 7, alike in every number."""
    tables = read_star(particle_file())
    more = {"rlnOpticsGroup": ["3", "7"], "rlnOpticsGroupName": ["g3", "'group 7'"], "rlnVoltage": ["300"] * 2}
    more |= {"rlnSphericalAberration": ["2.7"] * 2, "rlnAmplitudeContrast": ["0.1"] * 2}
    more |= {"rlnMicrographOriginalPixelSize": ["0.75"] * 2}
    optics = tables["optics"].with_columns(more)
    particles = tables["particles"].with_columns({"rlnOpticsGroup": ["3", "7", "3", "7"]})
    write_star(tmp_path / "p.star", {"optics": optics, "particles": particles})
    return tmp_path / "p.star"


def test_optics_groups_keep_number_name_and_columns(of_two_groups, tmp_path):
    before, again = read_star(of_two_groups), through_cs(of_two_groups, tmp_path)
    assert again.table["rlnOpticsGroup"] == before["particles"]["rlnOpticsGroup"]
    assert "rlnMicrographOriginalPixelSize" not in again.table
    for column in ("rlnOpticsGroup", "rlnOpticsGroupName", "rlnMicrographOriginalPixelSize"):
        assert again.optics_table.text(column) == before["optics"].text(column)
    assert again.groups.tolist() == [0, 1, 0, 1]


def test_optics_groups_that_cryosparc_divided_are_numbered_anew(of_two_groups, tmp_path):
    write_particles(tmp_path / "y.cs", read_particles(of_two_groups, with_images=False))
    divided = np.load(tmp_path / "y.cs")
    divided["ctf/exp_group_id"] = [1, 2, 3, 4]
    with (tmp_path / "y.cs").open("wb") as file:
        np.save(file, divided)
    again = read_particles(tmp_path / "y.cs", with_images=False)
    assert again.table["rlnOpticsGroup"] == ["1", "2", "3", "4"]
    assert len(set(again.optics_table["rlnOpticsGroupName"])) == 4
    assert again.optics_table["rlnMicrographOriginalPixelSize"] == ["0.75"] * 4


def test_columns_with_letters_of_any_alphabet_survive_cs_and_back(particle_file, tmp_path):
    star = particle_file()
    particles = read_particles(star).with_columns({"rlnSchärfe": torch.arange(len(read_particles(star)))})
    write_particles(tmp_path / "out.cs", particles)
    again = read_particles(tmp_path / "out.cs", with_images=False)
    assert again.table["rlnSchärfe"] == particles.table["rlnSchärfe"]


@pytest.mark.parametrize("given", [False, True])
def test_passthrough_files_are_joined_by_uid(cs_file, records, tmp_path, given):
    fields = {name: records[name] for name in records.dtype.names}
    order = [3, 1, 0, 4, 2]
    blob = records_of({k: v[order] for k, v in fields.items() if k.startswith(("uid", "blob/"))})
    rest = records_of({k: v for k, v in fields.items() if not k.startswith("blob/")})
    other = tmp_path / "J1" / ("elsewhere.cs" if given else "J1_passthrough_particles.cs")
    for path, table in ((tmp_path / "J1" / "main.cs", rest), (other, blob)):
        with path.open("wb") as file:
            np.save(file, table)
    particles = read_particles(tmp_path / "J1" / "main.cs", supplement=Supplement(passthrough=other if given else None))
    assert particles.table["rlnImageName"] == read_particles(cs_file).table["rlnImageName"]


def test_a_file_with_neither_images_nor_poses_is_said_to_be_one(records, tmp_path):
    kept = ("uid", "ctf/df1_A", "ctf/df2_A")
    with (tmp_path / "ctf.cs").open("wb") as file:
        np.save(file, records_of({name: records[name] for name in kept}))
    with pytest.raises(InputError, match=r"no particle images \(blob/path\) and no poses, only ctf, uid; give"):
        read_particles(tmp_path / "ctf.cs", with_images=False)


def test_passthrough_must_have_every_particle(cs_file, records, tmp_path):
    with (tmp_path / "few.cs").open("wb") as file:
        np.save(file, records[:2])
    with pytest.raises(InputError, match=r"few\.cs: 3 of the 5 particles of .*particles\.cs are not in it"):
        read_particles(cs_file, supplement=Supplement(passthrough=tmp_path / "few.cs"))


def test_pickled_objects_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("code of the file ran",))

    with (tmp_path / "x.cs").open("wb") as file:
        np.save(file, np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="pickled Python objects, which are never loaded"):
        read_particles(tmp_path / "x.cs")
    (tmp_path / "pose.pkl").write_bytes(b"\x80\x04\x95")
    with pytest.raises(InputError, match=r"a Python pickle, which is never loaded.*cryodrgn_utils write_star"):
        read_particles(tmp_path / "pose.pkl")


def test_a_header_larger_than_its_file_allocates_nothing(tmp_path):
    with (tmp_path / "x.cs").open("wb") as file:
        header = {"descr": [("uid", "<u8"), ("blob/idx", "<u4")], "fortran_order": False, "shape": (10**12,)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(InputError, match="the file is truncated"):
        read_particles(tmp_path / "x.cs")


def container(header: dict, *columns: bytes, heap: bytes = b"\0") -> bytes:
    text = json.dumps(header).encode()
    blocks = b"".join(struct.pack("<I", len(column)) + column for column in columns)
    return b"\x95CSDAT" + struct.pack("<I", len(text)) + text + blocks + heap


def test_the_newer_container_is_read(tmp_path):
    # Packed by hand, from the description of LZ4: four literals, then a match of 8 that repeats the last 4.
    packed = bytes([0x44, 7, 0, 0, 0, 4, 0, 0])
    dtype = [["uid", "<u8"], ["blob/path", "|O"], ["blob/idx", "<u4"]]
    header = {"length": 3, "dtype": dtype, "compression": "lz4", "compressed_fields": ["blob/idx"]}
    places = struct.pack("<3Q", 1, 1, 8)
    uid = struct.pack("<3Q", 10, 11, 12)
    path = tmp_path / "x.cs"
    path.write_bytes(container(header, uid, places, packed, heap=b"\0a.mrcs\0b.mrcs\0"))
    table = read_csdat(path)
    assert table["uid"].tolist() == [10, 11, 12]
    assert table["blob/path"].tolist() == [b"a.mrcs", b"a.mrcs", b"b.mrcs"]
    assert table["blob/idx"].tolist() == [7, 7, 7]
    particles = read_particles(path, with_images=False)
    assert particles.table["rlnImageName"] == ["000008@a.mrcs", "000008@a.mrcs", "000008@b.mrcs"]


def test_the_newer_container_packed_otherwise_is_refused_with_what_to_do(tmp_path):
    header = {"dtype": [["uid", "<u8"]], "compression": "snap", "compressed_fields": []}
    (tmp_path / "x.cs").write_bytes(container(header))
    with pytest.raises(
        InputError, match=r"compressed with 'snap', which is not supported; .*Dataset\.load\('in\.cs'\)\.save"
    ):
        read_particles(tmp_path / "x.cs")


@pytest.mark.parametrize(
    "block", [b"\x10", b"\xf0\xff", b"\x04\x01\x00", b"\x10a\x02\x00", b"\x1fa\x01\x00\xff\xff"], ids=repr
)
def test_broken_blocks_are_errors_and_end(block):
    with pytest.raises((ValueError, IndexError)):
        lz4_unpack(block, 100)


@pytest.mark.shared
def test_rows_that_are_in_two_formats_agree(shared):
    folder = shared / "corpus" / "particles"
    ours = read_particles(shared / "corpus" / "cs" / "empiar_10076_7.cs", folder)
    star = read_particles(shared / "corpus" / "star" / "cryodrgn_empiar_10076_7.star", folder)
    assert ours.pixel_size == pytest.approx(star.pixel_size, rel=1e-5)
    for name in ("defocus_u", "defocus_v", "defocus_angle", "voltage", "spherical_aberration", "amplitude_contrast"):
        torch.testing.assert_close(getattr(ours.optics, name), getattr(star.optics, name), rtol=1e-6, atol=1e-4)
    assert torch.equal(ours.read_images(slice(None)), star.read_images(slice(None)))


@pytest.mark.shared
def test_every_field_of_a_real_export_survives_star(shared, tmp_path):
    path = shared / "corpus" / "cs" / "cryosparc_J2_particles_exported.cs"
    write_particles(tmp_path / "x.star", read_particles(path, with_images=False))
    write_particles(tmp_path / "y.cs", read_particles(tmp_path / "x.star", with_images=False))
    before, after = np.load(path, allow_pickle=False), np.load(tmp_path / "y.cs", allow_pickle=False)
    for name in before.dtype.names:
        assert np.array_equal(before[name], after[name]), name
