"""Each image is read once, whatever the rows say, and cropped to the working box."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from reconstruction.scenes import PIXEL_SIZE, varied_optics, write_particle_files
from resmfn.core import InputError, make_generator
from resmfn.data import ParticleSet, Table, read_particles, write_star
from resmfn.fourier import resize_images
from resmfn.reconstruction import ReconstructionConfig
from resmfn.reconstruction.images import image_chunks
from resmfn.reconstruction.images.image_chunks import read_once
from resmfn.reconstruction.images.observations import observe
from resmfn.reconstruction.images.working_box import WorkingBox

CPU = torch.device("cpu")


def write_rows(folder: Path, images: torch.Tensor, shown: list[int]) -> ParticleSet:
    """Return particles whose rows show the images ``shown``, counted from 0."""
    columns = read_particles(write_particle_files(folder, images)).table.columns
    rows = {name: [cells[i] for i in shown] for name, cells in columns.items()}
    write_star(folder / "rows.star", {"particles": Table(rows)})
    return read_particles(folder / "rows.star")


def noise(n: int, box_size: int) -> torch.Tensor:
    return torch.randn(n, box_size, box_size, generator=make_generator(3))


def test_every_row_gets_its_image_and_every_image_is_read_once(tmp_path, monkeypatch) -> None:
    images = noise(9, 16)
    shown = [4, 0, 4, 8, 3, 0, 7, 4]
    particles = write_rows(tmp_path, images, shown)
    monkeypatch.setattr(image_chunks, "READ_IMAGES", 2)
    asked: Counter = Counter()
    read = ParticleSet.read_images

    def counted(self: ParticleSet, index: torch.Tensor) -> torch.Tensor:
        asked.update(shown[row] for row in index.tolist())
        return read(self, index)

    monkeypatch.setattr(ParticleSet, "read_images", counted)
    got = torch.zeros(len(shown), 16, 16)
    for chunk in read_once(particles, 16):
        assert len(chunk.images) <= 2
        got[chunk.shown_by] = chunk.images[chunk.image]
    assert torch.equal(got, images[shown])
    assert asked == {0: 1, 3: 1, 4: 1, 7: 1, 8: 1}


def test_few_images_are_held_where_boxes_are_large(tmp_path, monkeypatch) -> None:
    particles = read_particles(write_particle_files(tmp_path, noise(7, 16)))
    monkeypatch.setattr(image_chunks, "READ_PIXELS", 3 * 16 * 16)
    assert [len(chunk.images) for chunk in read_once(particles, 16)] == [3, 3, 1]


@pytest.mark.parametrize(("native", "size"), [(32, 24), (33, 24), (32, 21), (33, 33)])
def test_cropping_while_reading_is_cropping_before(native: int, size: int, tmp_path) -> None:
    images, optics = noise(60, native), varied_optics(60)
    pixel_size = PIXEL_SIZE * native / size
    found = read_particles(write_particle_files(tmp_path / "native", images, optics=optics))
    small = write_particle_files(tmp_path / "small", resize_images(images, size), pixel_size=pixel_size, optics=optics)
    cropped = observe(found, mask_radius=0.4 * size, device=CPU, box_size=size)
    expected = observe(read_particles(small), mask_radius=0.4 * size, device=CPU)
    assert (cropped.box_size, cropped.pixel_size) == (size, pytest.approx(pixel_size))
    index = torch.arange(60)
    for a, b in zip(cropped.batch(index, 200), expected.batch(index, 200), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_a_working_box_keeps_the_field_of_view(tmp_path) -> None:
    particles = read_particles(write_particle_files(tmp_path, noise(3, 32)))

    def box(**settings: object) -> WorkingBox:
        return WorkingBox.of(ReconstructionConfig(particles=particles.path, out=tmp_path / "x", **settings), particles)

    assert box() == WorkingBox(32, PIXEL_SIZE)
    assert box(box_size=20) == WorkingBox(20, PIXEL_SIZE * 32 / 20)
    assert box(box_size=20).mask_radius(48.0) == pytest.approx(5.0)
    assert box(box_size=20).mask_radius(None) == pytest.approx(8.4)
    with pytest.raises(InputError, match="--box-size must be at most the images' box of 32 pixels, got 33"):
        box(box_size=33)
    with pytest.raises(InputError, match="--box-size must be at least 16, got 8"):
        box(box_size=8)
