"""The simulator and the scorer that share no line with the package: RELION's programs agree with both."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

FOLDER = Path(__file__).parents[2] / "benchmarks" / "independent"
BOX, PIXEL, N = 32, 3.0, 24


@pytest.fixture(scope="module")
def tools() -> dict[str, ModuleType]:
    """Return the modules by name."""
    sys.path.insert(0, str(FOLDER))
    try:
        return {name: __import__(name) for name in ("conventions", "simulate", "score")}
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """Return a file of atoms without symmetry, some 30 Å wide."""
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("model") / "atoms.csv"
    places = rng.normal(0, (14, 9, 6), (120, 3))
    rows = [f"{e},{x:.3f},{y:.3f},{z:.3f}" for e, (x, y, z) in zip("NCOS" * 30, places, strict=True)]
    path.write_text("\n".join(["element,x,y,z", *rows]) + "\n")
    return path


def simulated(model: Path, out: Path, *flags: str) -> Path:
    command = [sys.executable, str(FOLDER / "simulate.py"), str(model), str(out), "--n", str(N)]
    command += ["--box", str(BOX), "--pixel-size", str(PIXEL), "--seed", "3", *flags]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def data(model, tmp_path_factory) -> Path:
    """Return images without noise, off center, with CTF."""
    return simulated(model, tmp_path_factory.mktemp("data"), "--snr", "0", "--shift-std", "4")


def stack(path: Path) -> np.ndarray:
    import mrcfile

    with mrcfile.open(path, permissive=True) as file:
        return file.data.astype(float)


def test_neither_imports_a_line_of_the_package() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            roots = {name.partition(".")[0] for name in names}
            allowed = {*sys.stdlib_module_names, "numpy", "scipy", "mrcfile", "gemmi", "conventions", "torch"}
            assert roots <= allowed, path.name


@pytest.mark.parametrize("flags", [("--snr", "0"), ("--snr", "0.5", "--no-ctf", "--preferred", "3", "--box", "31")])
def test_pytorch_makes_the_same_images(model, tmp_path, flags) -> None:
    flags = ("--shift-std", "4", *flags)
    plain, by_torch = (
        simulated(model, tmp_path / name, *flags, *more)
        for name, more in (("numpy", ()), ("torch", ("--torch", "cpu")))
    )
    ours, theirs = (stack(folder / "particles.mrcs") for folder in (plain, by_torch))
    assert abs(ours - theirs).max() < 1e-6 * abs(ours).max()
    for name in ("particles.star", "particles_true.star"):
        assert (plain / name).read_text() == (by_torch / name).read_text()


def test_an_atom_comes_where_the_conventions_say(tools) -> None:
    """docs/conventions.md: with psi = 90, what lies on the map's +x axis appears on the image's -y axis."""
    simulate, conventions = tools["simulate"], tools["conventions"]
    atom, weight = np.array([[12.0, 0.0, 0.0]]), np.ones(1)
    pose = conventions.matrices(np.array([[0.0, 0.0, 90.0]]))
    image = simulate.centered(next(simulate.projections(atom, weight, pose, BOX, PIXEL, 80.0)))
    assert np.unravel_index(image.argmax(), image.shape) == (BOX // 2 - 4, BOX // 2)
    volume = simulate.volume(atom, weight, BOX, PIXEL, 80.0)
    assert np.unravel_index(volume.argmax(), volume.shape) == (BOX // 2, BOX // 2, BOX // 2 + 4)
    np.testing.assert_allclose(
        volume.sum(axis=0)[BOX // 2], image[:, BOX // 2][::-1].take(range(-1, BOX - 1)), atol=1e-9
    )


def test_the_ctf_is_that_of_the_conventions(tools) -> None:
    ctf = tools["conventions"].ctf
    assert ctf(np.zeros(1), np.zeros(1), (15000.0, 14000.0, 20.0), 300.0, 2.7, 0.1) == pytest.approx(0.1)
    fx = np.array([0.05])
    wavelength = 0.0196875  # Å, of electrons of 300 kV
    gamma = np.pi * wavelength * 15000 * fx**2 - np.pi / 2 * 2.7e7 * wavelength**3 * fx**4
    expected = np.sqrt(0.99) * np.sin(gamma) + 0.1 * np.cos(gamma)
    np.testing.assert_allclose(ctf(fx, np.zeros(1), (15000.0, 14000.0, 0.0), 300.0, 2.7, 0.1), expected, atol=2e-4)


@pytest.mark.relion
def test_relion_projects_the_same_images(data, relion, tmp_path) -> None:
    command = [str(relion / "relion_project"), "--i", str(data / "volume.mrc"), "--o", str(tmp_path / "p")]
    command += ["--ang", str(data / "particles_true.star"), "--ctf"]
    subprocess.run(command, check=True, capture_output=True, cwd=data)
    k = np.fft.fftfreq(BOX) * BOX
    inside = np.hypot(k[:, None], k) < BOX / 2 - 1  # RELION leaves the corners empty
    ours, theirs = (np.fft.fft2(stack(path))[:, inside] for path in (data / "particles.mrcs", tmp_path / "p.mrcs"))
    cross = (ours * theirs.conj()).sum(axis=1).real
    correlation = cross / np.sqrt((abs(ours) ** 2).sum(axis=1) * (abs(theirs) ** 2).sum(axis=1))
    assert correlation.min() > 0.98


@pytest.mark.relion
def test_relion_reconstructs_the_map_from_the_images(data, model, tools, relion, tmp_path) -> None:
    """From 300 images at their true poses; the scorer then finds the two maps alike to Nyquist."""
    many = simulated(model, tmp_path / "many", "--snr", "0", "--shift-std", "2", "--n", "300")
    command = [str(relion / "relion_reconstruct"), "--i", "particles_true.star", "--o", "rec.mrc", "--ctf"]
    subprocess.run(command, check=True, capture_output=True, cwd=many)
    truth, found = (tools["conventions"].read_map(many / name)[0] for name in ("volume.mrc", "rec.mrc"))
    curve = tools["conventions"].fsc(found, truth)
    assert curve[1:-1].min() > 0.9


@pytest.mark.parametrize("hand", [1, -1])
def test_the_scorer_finds_the_rotation_the_shift_and_the_hand_that_were_made(
    hand, data, model, tools, tmp_path
) -> None:
    """A map of the same atoms turned, moved and mirrored, exact by its making, and poses that go with it."""
    simulate, conventions = tools["simulate"], tools["conventions"]
    turn, place = Rotation.from_rotvec([0.9, -1.3, 0.4]).as_matrix(), np.array([5.0, -4.0, 2.5])
    xyz, number = simulate.read_atoms(model)
    moved = simulate.volume(hand * (xyz @ turn.T) + place, number, BOX, PIXEL, 40.0)
    conventions.write_mrc(tmp_path / "map.mrc", moved, PIXEL)
    true = conventions.matrices(conventions.read_columns(data / "particles_true.star", conventions.ANGLES))
    origin = conventions.read_columns(data / "particles_true.star", conventions.ORIGIN)
    # A atoms' image is A x: the same image of the moved ones is A' (hand turn x + place) less A' place.
    pose = np.diag([hand, hand, 1.0]) @ true @ turn.T
    wrong = Rotation.from_rotvec(np.radians(3.0) * np.eye(3)[np.arange(N) % 3]).as_matrix() @ pose
    angles = Rotation.from_matrix(np.swapaxes(wrong, 1, 2)).as_euler("ZYZ", degrees=True)
    columns = dict(zip(conventions.ANGLES, angles.T, strict=False)) | dict(
        zip(conventions.ORIGIN, (origin + (wrong @ place)[:, :2] + 0.5).T, strict=False)
    )
    names = [f"{i + 1}@other/particles.mrcs" for i in range(N)][::-1]
    columns = {name: values[::-1] for name, values in columns.items()}  # rows in another order
    conventions.write_star(tmp_path / "found.star", {"rlnOpticsGroup": 1}, columns, names)
    command = [sys.executable, str(FOLDER / "score.py"), str(tmp_path / "map.mrc"), str(data / "volume.mrc")]
    command += ["--star", str(tmp_path / "found.star"), "--true-star", str(data / "particles_true.star")]
    subprocess.run([*command, "--json", str(tmp_path / "s.json")], check=True, capture_output=True)
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["hand"] == found["pose"]["hand"] == hand
    error = Rotation.from_matrix(np.array(found["rotation"]) @ turn).magnitude()
    assert np.degrees(error) < 0.4
    assert found["unmasked"]["fsc05"] < 1.1 * 2 * PIXEL
    assert found["pose"]["median"] == pytest.approx(3.0, abs=0.5)
    assert found["pose"]["lt10"] == 1.0
    assert found["shift"]["rms"] == pytest.approx(0.5 * np.sqrt(2), abs=0.1)


def test_what_has_nothing_in_common_is_not_called_alike(data, tools) -> None:
    truth, _ = tools["conventions"].read_map(data / "volume.mrc")
    noise = np.random.default_rng(0).standard_normal(truth.shape)
    assert tools["conventions"].crossing(tools["conventions"].fsc(noise, truth), 0.5, BOX * PIXEL) > 20
    assert tools["conventions"].crossing(np.array([1.0, 0.9, 0.7, 0.3, 0.0]), 0.5, 80.0) == pytest.approx(80 / 2.5)
