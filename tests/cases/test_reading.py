"""Small inputs after public bug reports: what `check` and `convert` say of each, from the README line of each."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from resmfn.cli.main import main
from resmfn.data import read_particles, write_map
from resmfn.physics import GaussianBlobs

pytestmark = [pytest.mark.shared, pytest.mark.usefixtures("one_torch_thread")]

READ, REFUSED = 0, 2
LONGEST_LINK = 200  # bytes: a stack that is only the path of another


class Case(NamedTuple):
    """A folder, what becomes of its particles, and words of the answer."""

    name: str
    code: int
    says: tuple[str, ...] = ()
    command: str = "check p.star"
    without: str = ""
    """What the answer must not say."""


CHECKED = [
    # Text of a STAR file.
    Case("blank_between", READ, ("images          12",)),
    Case("bom", READ, ("300 kV",)),
    Case("comment_after_data", READ, ("images          12",)),
    Case("crlf", READ),
    Case("cut", REFUSED, ("line 44", "3 cells")),
    Case("decimalcomma", REFUSED, ("row 1", "rlnDefocusU", "15511,822")),
    Case("empty", REFUSED, ("0 bytes",)),
    Case("indented_data", READ, ("images          12",)),
    Case("nonum", READ),
    Case("one_row", READ, ("images          1\n",)),
    Case("optics_pairs", READ, ("300 kV",)),
    Case("particles_pairs", READ, ("images          1\n",)),
    Case("row_comment", REFUSED, ("line 35", "13 cells")),
    Case("semicolon", REFUSED, ("line 22", "_rlnNote")),
    Case("space_quoted", READ),
    Case("tabs", READ, ("images          12",)),
    Case("twice", REFUSED, ("data_particles appears twice",)),
    Case("unicode", READ),
    Case("upper", READ, ("images          12",)),
    Case("utf16", REFUSED, ("UTF-16", "UTF-8")),
    Case("wrongnum", READ, ("300 kV",)),
    # Files of another kind.
    Case("cistem", REFUSED, ("cisTEM",)),
    Case("micrographs_star_given", REFUSED, ("micrographs",)),
    Case("par", REFUSED, ("not a STAR file",), "check p.par"),
    Case("gz", REFUSED, ("gzip", "decompress")),
    Case("hdf", REFUSED, ("HDF", ".mrcs")),
    Case("lfs", REFUSED, ("Git LFS",)),
    Case("lfslong", REFUSED, ("web page",)),
    Case("tif", REFUSED, ("TIFF",)),
    # Headers of stacks.
    Case("bigendian", READ),
    Case("box1", READ),
    Case("cella_is_pixel", REFUSED, ("1.5 Å", "0.046875 Å", "--pixel-size")),
    Case("cella_nm", REFUSED, ("0.15 Å", "nm", "--pixel-size")),
    Case("fei_ext", READ),
    Case("hdr_0.95pct", READ, ("1.05 Å",)),
    Case("hdr_4.8pct", READ, ("1.05 Å",), "check p.star --pixel-size 1.05"),
    Case("hdr_4.8pct", REFUSED, ("--pixel-size",)),
    Case("imagesize519", REFUSED, ("rlnImageSize says 33", "32")),
    Case("imod_unsigned", READ),
    Case("ispg1", READ, ("images          12",)),
    Case("ispg401", READ, ("images          12",)),
    Case("mixed_modes", READ),
    *(Case(f"mode{mode}", REFUSED, (f"mode {mode} cannot be read",)) for mode in (101, 16, 4)),
    *(Case(f"mode{mode}", READ) for mode in (12, 6)),
    Case("mode_garbage", REFUSED, ("header is invalid",)),
    Case("mx0", READ, ("1.5 Å",)),
    Case("mx1", READ, ("1.5 Å",)),
    Case("nonsquare", REFUSED, ("square", "30 x 32")),
    Case("nostamp", READ),
    Case("nsymbt_neg", READ),
    Case("nsymbt_small", REFUSED, ("row 12", "constant", "announces 4096 bytes of extended header", "shifted")),
    Case("nz0", REFUSED, ("nz 0",)),
    Case("nz1", REFUSED, ("has 1 by its header", "long enough for 12")),
    Case("nz_big", REFUSED, ("truncated",)),
    Case("oddbox", READ, ("odd box (33 pixels)", "RELION")),
    # Images.
    Case("nanimg", REFUSED, ("row 5", "NaN")),
    Case("zeros", REFUSED, ("row 5", "constant")),
    # Names of images.
    Case("at_in_dir", READ),
    Case("case", REFUSED, ("A.mrcs",)),
    Case("float_number", REFUSED, ("number@stack", "1.000000@particles.mrcs")),
    Case("jobfolder", READ, command="check Refine3D/job012/run_data.star"),
    Case("no_at", REFUSED, ("names no image", "has 12")),
    Case("no_at_files", READ, ("images          12",)),
    Case("reversed", REFUSED, ("number@stack",)),
    Case("zero_index", REFUSED, ("image 0",)),
    # Which value counts.
    Case("emptyopt", REFUSED, ("data_optics is missing or empty",)),
    Case("noopt", REFUSED, ("data_optics is missing or empty",)),
    Case("group_missing", REFUSED, ("optics group 2",)),
    Case("groupname1.0", READ),
    Case("mag_nominal", READ, ("1.5 Å",), "check p.star --pixel-size 1.5"),
    Case("mag_nominal", REFUSED, ("pixel size is missing", "give --pixel-size")),
    Case("micrograph_pixel_only", REFUSED, ("--pixel-size",)),
    Case("origin_both", READ, ("not used      rlnOpticsGroupName rlnOriginX rlnOriginY",)),
    Case("origin_px31", READ, ("rotations and shifts",)),
    Case("originz", READ, ("not used      rlnOpticsGroupName rlnOriginZAngst",)),
    Case("particle_over_optics", READ, ("200 kV, Cs 1.4 mm, amplitude contrast 0.07", "rlnVoltage contradicts itself")),
    Case("pixel_override_groups", REFUSED, ("1.5 Å", "1.1 Å in the header", "--pixel-size")),
    Case("pixel_override_groups", REFUSED, ("--pixel-size 1.5", "1.5, 2 Å"), "check p.star --pixel-size 1.5"),
    # CTF, aberrations, treatment.
    Case(
        "beamtilt",
        READ,
        ("beam tilt and odd Zernikes: a phase", "magnification matrix: says which slice", "even Zernikes"),
    ),
    Case("ctfcorrected", REFUSED, ("rlnCtfDataAreCtfCorrected",)),
    Case("ctfmaxres_inf", READ, ("rlnCtfMaxResolution",)),
    Case("defocus_um", REFUSED, ("µm?",)),
    Case("helical", READ, ("helical segments", "each tube in one half")),
    Case("isflip", REFUSED, ("rlnIsFlip", "mirror")),
    Case("kv_in_v", REFUSED, ("volts?",)),
    Case("nan_angle", REFUSED, ("row 8", "finite number")),
    Case("no_v", REFUSED, ("rlnDefocusV is missing",)),
    Case("no_w", REFUSED, ("rlnAmplitudeContrast is missing", "--amplitude-contrast")),
    Case("no_w", READ, ("amplitude contrast 0.07",), "check p.star --amplitude-contrast 0.07"),
    Case("partial_ctf", READ, ("incomplete CTF",)),
    Case("premult", READ, ("images multiplied by their CTF: divided by it",)),
    Case("tilt_export", REFUSED, ("rlnCtfBfactor must not be negative", "tilt series")),
    Case("w_percent", REFUSED, ("rlnAmplitudeContrast", "percent?")),
    # Rows, images and half sets.
    Case("dup_rows", READ, ("6 of 18 rows are exact copies",)),
    Case("dup_rows_run", READ, ("400 of 1200 rows are exact copies",)),
    Case("dup_low_four", READ, ("exact copies",)),
    Case("subset_0", REFUSED, ("row 1", "rlnRandomSubset must be 1 or 2, got '0'")),
    Case("subset_all1", REFUSED, ("rlnRandomSubset must name two half sets",)),
    Case("subset_conflict", REFUSED, ("show one image", "half sets that share images")),
    Case("subset_nan", REFUSED, ("rlnRandomSubset must be 1 or 2, got 'nan'",)),
    Case("subset_quoted", READ, without="would fail"),
    # cryoSPARC.
    *(Case(name, READ, command="check p.cs") for name in ("cs_2d", "cs_big_header", "cs_passthrough", "cs_plain")),
    Case("cs_2d", READ, ("poses           none",), "check p.cs"),
    Case("cs_aberr", REFUSED, ("ctf/trefoil_A", "not modeled"), "check p.cs"),
    Case("cs_class_and_3d", READ, ("rotations and shifts",), "check p.cs"),
    Case("cs_empty_strings", REFUSED, ("row 4",), "check p.cs"),
    Case("cs_exposure", REFUSED, ("no particle images",), "check p.cs"),
    Case("cs_idx_out", REFUSED, ("row 12", "has 12"), "check p.cs"),
    Case("cs_nopath", REFUSED, ("not a particle file",), "check p.cs"),
    Case("cs_object", REFUSED, ("never loaded",), "check p.cs"),
    Case("cs_phase", READ, ("ctf/phase_shift_rad",), "check p.cs"),
    Case("cs_psize_differs", READ, ("1.5 Å",), "check p.cs"),
    Case("cs_scale", READ, ("rlnCtfScalefactor: a factor of the CTF",), "check p.cs"),
    Case("cs_shape_wrong", REFUSED, ("36", "32"), "check p.cs"),
    Case("cs_symexp", READ, ("24 of 36 rows",), "check p.cs"),
    Case("cs_trunc", REFUSED, ("truncated",), "check p.cs"),
    Case("cs_two_sizes", READ, ("1.5, 2 Å", "working box"), "check p.cs"),
    Case("cs_unicode", READ, command="check p.cs"),
    Case("cs_volume", REFUSED, ("no particle images",), "check p.cs"),
]
CONVERTED = [
    Case("convert_beamtilt", READ, ("cryoSPARC has no field for rlnOddZernike",), "convert p.star out.cs --overwrite"),
    Case("cs_aberr", READ, ("RELION has no column for ctf/trefoil_A",), "convert p.cs out.star --overwrite"),
]


@pytest.fixture
def enter(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return a function that goes into a copy of a case's folder."""

    def go(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(shared / "cases" / name, folder, symlinks=True, copy_function=shutil.copyfile)
        for stack in folder.rglob("*.mrcs"):
            if stack.stat().st_size < LONGEST_LINK and (text := stack.read_bytes()).startswith(b"../"):
                stack.unlink()
                stack.symlink_to(shared / "cases" / name / text.decode().strip())
        monkeypatch.chdir(folder)
        return folder

    return go


@pytest.mark.parametrize("case", CHECKED + CONVERTED, ids=lambda case: f"{case.name}-{case.command.replace(' ', '_')}")
def test_case(case: Case, enter: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    enter(case.name)
    code = main(case.command.split())
    answer = capsys.readouterr()
    said = answer.out + answer.err
    assert code == case.code, said
    assert [words for words in case.says if words not in said] == [], said
    assert not case.without or case.without not in said
    assert len(answer.err.splitlines()) == (1 if code == REFUSED and not answer.out else 0), answer.err


def test_unsigned_bytes_are_read_as_such(enter: Callable[[str], Path]) -> None:
    enter("imod_unsigned")
    images = read_particles("p.star").read_images(slice(None))
    assert images.min() >= 0
    assert images.max() > 127


def test_shifts_are_in_their_own_pixels(enter: Callable[[str], Path]) -> None:
    enter("cs_plain")
    plain = read_particles("p.cs").require_poses()[1]
    enter("cs_psize_differs")
    assert (read_particles("p.cs").require_poses()[1] - 2 * plain).abs().max() < 1e-4


def test_origins_in_angstrom_win_over_those_in_pixels(enter: Callable[[str], Path]) -> None:
    enter("origin_both")
    particles = read_particles("p.star")
    assert particles.require_poses()[1][0].tolist() == pytest.approx(
        [float(particles.table["rlnOriginXAngst"][0]), float(particles.table["rlnOriginYAngst"][0])]
    )
    enter("origin_px31")
    particles = read_particles("p.star")
    first = [1.5 * float(particles.table[f"rlnOrigin{axis}"][0]) for axis in "XY"]
    assert particles.require_poses()[1][0].tolist() == pytest.approx(first)


def test_converted_aberrations_are_those_of_the_file(enter: Callable[[str], Path]) -> None:
    enter("cs_aberr")
    assert main(["convert", "p.cs", "out.star", "--overwrite"]) == READ
    optics = read_particles("out.star", with_images=False).optics_table
    assert optics is not None
    values = {column: float(optics[column][0]) for column in optics.columns if column.startswith(("rlnBeam", "rlnMag"))}
    # 900 and -400 Å over Cs of 2.7 mm, in mrad; the identity is added to anisomag.
    assert values["rlnBeamTiltX"] == pytest.approx(900 / 2.7e7 * 1e3)
    assert values["rlnBeamTiltY"] == pytest.approx(-400 / 2.7e7 * 1e3)
    found = [values[f"rlnMagMat{i}{j}"] for i in (0, 1) for j in (0, 1)]
    assert found == pytest.approx([1.01, 0.002, 0.002, 0.988])
    enter("convert_beamtilt")
    before = read_particles("p.star")
    assert main(["convert", "p.star", "out.cs", "--overwrite"]) == READ
    after = read_particles("out.cs")
    assert before.optics is not None
    assert after.optics is not None
    for name in ("odd_aberration", "magnification", "premultiplied"):
        assert getattr(after.optics, name).double().numpy() == pytest.approx(
            getattr(before.optics, name).double().numpy(), rel=1e-6
        ), name


def test_projections_are_those_of_the_files_optics(enter: Callable[[str], Path], capsys: pytest.CaptureFixture) -> None:
    """Two STAR files that differ in aberrations, magnification and premultiplication made the same images once."""
    enter("project_aberr")
    generator = torch.Generator().manual_seed(0)
    write_map("blobs.mrc", GaussianBlobs.random(20, radius=14, width=1.5, generator=generator).volume(48), 2.0)
    for name in "ab":
        command = ["project", "blobs.mrc", f"{name}.star", "--out", f"{name}_made.mrcs", "--overwrite"]
        assert main(command) == READ, capsys.readouterr().err
    plain, aberrated = (read_particles(f"{name}_made.star").read_images(slice(None)) for name in "ab")
    assert float((plain * aberrated).sum() / (plain.norm() * aberrated.norm())) < 0.9
