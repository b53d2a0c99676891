"""Images of different pixel sizes become what they would be had all been taken at one."""

import numpy as np
import pytest
import torch

from resmfn.core import make_generator
from resmfn.data import ImageStackWriter, Table, read_particles, write_star
from resmfn.data.particles.common_frame import CommonFrame
from resmfn.fourier import resize_images
from resmfn.physics import GaussianBlobs
from resmfn.rotations import random_rotations

FRAME = CommonFrame(24, 3.0)


def projections(box_size: int, pixel_size: float, n: int = 3, offset: float = 0.0) -> torch.Tensor:
    """Return images of one set of blobs, widths of 4 to 6 Å within 12 Å, at some sampling; float64."""
    generator = make_generator(1)
    rotation = random_rotations(n, generator=generator, dtype=torch.float64)
    blobs = GaussianBlobs.random(20, radius=12.0, width=5.0, generator=generator, dtype=torch.float64)  # in Å
    scaled = GaussianBlobs(
        centers=blobs.centers / pixel_size, widths=blobs.widths / pixel_size, amplitudes=blobs.amplitudes
    )
    return scaled.project(rotation, box_size) * pixel_size + offset  # sums of voxels to integrals over Å


@pytest.mark.parametrize(("box_size", "pixel_size"), [(40, 2.0), (33, 2.37), (51, 1.5), (30, 3.0), (24, 3.0)])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_images_agree_with_those_taken_at_the_common_sampling(box_size, pixel_size, offset) -> None:
    wanted = projections(24, 3.0, offset=offset)
    brought = FRAME.bring(projections(box_size, pixel_size, offset=offset), pixel_size)
    assert brought.dtype == torch.float64
    scale = (wanted - offset).abs().max()
    assert float((brought - wanted).abs().max() / scale) < 2e-3


def test_a_frame_of_the_same_field_of_view_is_fourier_cropping() -> None:
    images = torch.randn(4, 36, 36, generator=make_generator(2), dtype=torch.float64)
    frame = CommonFrame(27, 72 / 27)  # odd: of Nyquist, which means one term here and two there, there is none
    torch.testing.assert_close(frame.bring(images, 2.0), resize_images(images, 27), rtol=0, atol=1e-12)


def test_the_frame_is_the_smallest_field_of_view_in_the_coarsest_pixels() -> None:
    boxes, pixels = np.array([64, 48, 50]), np.array([1.0, 1.5, 1.0])
    assert CommonFrame.of(boxes, pixels) == CommonFrame(32, 1.5)  # 50 Å hold 33 pixels of 1.5 Å; even boxes only
    assert CommonFrame.of(boxes[:1], pixels[:1]) is None
    assert CommonFrame.of(np.array([48, 48]), np.array([1.5, 1.5000001])) is None


def test_a_set_with_two_pixel_sizes_is_read_as_one(tmp_path) -> None:
    """Images, shifts in Å and optics are those of a set that was simulated at the common sampling."""
    for name, box_size, pixel_size in (("fine", 40, 2.0), ("coarse", 24, 3.0)):
        with ImageStackWriter(tmp_path / f"{name}.mrcs", 2, box_size, pixel_size) as stack:
            stack.write(projections(box_size, pixel_size, n=2))
    optics = {
        "rlnOpticsGroup": ["1", "2"], "rlnOpticsGroupName": ["a", "b"], "rlnImagePixelSize": ["2.0", "3.0"],
        "rlnImageSize": ["40", "24"], "rlnVoltage": ["300", "200"], "rlnSphericalAberration": ["2.7", "2.7"],
        "rlnAmplitudeContrast": ["0.1", "0.1"],
    }  # fmt: skip
    particles = {
        "rlnImageName": ["1@fine.mrcs", "1@coarse.mrcs", "2@fine.mrcs", "2@coarse.mrcs"],
        "rlnOpticsGroup": ["1", "2", "1", "2"], "rlnDefocusU": ["10000"] * 4, "rlnDefocusV": ["9000"] * 4,
        "rlnDefocusAngle": ["10"] * 4, "rlnAngleRot": ["0"] * 4, "rlnAngleTilt": ["0"] * 4, "rlnAnglePsi": ["0"] * 4,
        "rlnOriginXAngst": ["4.5"] * 4, "rlnOriginYAngst": ["-3"] * 4,
    }  # fmt: skip
    write_star(tmp_path / "x.star", {"optics": Table(optics), "particles": Table(particles)})
    framed = read_particles(tmp_path / "x.star").in_common_frame()
    assert (framed.box_size, framed.pixel_size) == (24, 3.0)
    wanted = projections(24, 3.0, n=2).float()[[0, 0, 1, 1]]
    torch.testing.assert_close(framed.read_images(slice(None)), wanted, rtol=0, atol=2e-3 * float(wanted.max()))
    assert framed.shifts.tolist() == [[4.5, -3.0]] * 4
    assert framed.optics.voltage.tolist() == [300.0, 200.0, 300.0, 200.0]
    assert framed.optics_table["rlnImagePixelSize"] == ["2.0", "3.0"]  # what is written says what the images are
