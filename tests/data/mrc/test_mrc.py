"""Maps and stacks: what is written is read again, by us and by mrcfile, and what is broken is named."""

import bz2
import gzip
import resource
from contextlib import contextmanager
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resmfn.core import InputError, ResmfnError, ShapeError
from resmfn.data import (
    ImageStackWriter,
    is_map_file,
    read_map,
    read_stack_images,
    read_stack_info,
    read_stored_map,
    write_map,
)


@pytest.fixture
def volume(generator):
    return torch.randn(6, 6, 6, generator=generator)


@pytest.fixture
def map_file(tmp_path, volume):
    write_map(tmp_path / "map.mrc", volume, 1.31)
    return tmp_path / "map.mrc"


@contextmanager
def small_files_only():
    """Let no file grow beyond 4 KiB: the disk is full. Never while pytest reports: its own log may be a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def patch_header(path: Path, **fields: object) -> None:
    """Change header fields of a file in place, by mrcfile's description of the header."""
    raw = bytearray(path.read_bytes())
    header = np.frombuffer(bytes(raw[:1024]), dtype=mrcfile.dtypes.HEADER_DTYPE).copy()
    for name, value in fields.items():
        header[name] = value
    raw[:1024] = header.tobytes()
    path.write_bytes(raw)


def test_map_survives_the_round_trip(map_file, volume):
    read = read_map(map_file)
    assert torch.equal(read.data, volume)
    assert (read.pixel_size, read.box_size, read.data.dtype) == (1.31, 6, torch.float32)


def test_mrcfile_finds_nothing_wrong_with_a_written_map(map_file, volume, capsys):
    assert mrcfile.validate(map_file), capsys.readouterr().out
    with mrcfile.open(map_file) as file:
        assert file.is_volume() and not file.is_image_stack()
        assert np.array_equal(file.data, volume.numpy())
        assert float(file.voxel_size.z) == pytest.approx(1.31)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_packed_maps_are_read_whatever_their_name(map_file, volume, tmp_path, pack):
    (tmp_path / "packed.map").write_bytes(pack(map_file.read_bytes()))
    assert torch.equal(read_map(tmp_path / "packed.map").data, volume)


@pytest.mark.parametrize("mode", [np.int8, np.int16, np.uint16, np.float16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_other_number_types_and_byte_orders_are_read(tmp_path, mode, order):
    data = np.arange(27, dtype=mode).reshape(3, 3, 3)
    with mrcfile.new(tmp_path / "x.mrc", overwrite=True) as file:
        file.set_data(data.astype(np.dtype(mode).newbyteorder(order)))
        file.voxel_size = 2.0
    assert np.array_equal(read_map(tmp_path / "x.mrc").data.numpy(), data.astype(np.float32))


def test_extended_headers_are_skipped(map_file, volume):
    raw = map_file.read_bytes()
    map_file.write_bytes(raw[:1024] + b"x" * 80 + raw[1024:])
    patch_header(map_file, nsymbt=80)
    assert torch.equal(read_map(map_file).data, volume)


def test_files_of_old_programs_without_marks_are_read(map_file, volume):
    patch_header(map_file, map=b"\0\0\0\0", machst=(0, 0, 0, 0), mapc=0, mapr=0, maps=0)
    assert torch.equal(read_map(map_file).data, volume)


def test_axes_stored_in_another_order_are_brought_to_z_y_x(map_file, volume):
    patch_header(map_file, mapc=3, mapr=1, maps=2)  # columns run along z, rows along x, sections along y
    assert torch.equal(read_map(map_file).data, volume.permute(2, 0, 1))


def test_pixel_size_given_overrides_the_header(map_file):
    assert read_map(map_file, 2.5).pixel_size == 2.5


def test_map_must_exist(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.mrc: does not exist; check the name"):
        read_map(tmp_path / "nothing.mrc")
    with pytest.raises(InputError, match="is a folder, not a file"):
        read_map(tmp_path)


def test_a_map_that_is_no_cube_is_refused_or_padded_about_its_middle(tmp_path):
    slab = torch.rand(2, 3, 4)
    write_map(tmp_path / "slab.mrc", slab, 1.0)
    assert torch.equal(read_stored_map(tmp_path / "slab.mrc").data, slab)
    with pytest.raises(InputError, match=r"slab\.mrc: the map must be a cube here, but it has 4 x 3 x 2 voxels"):
        read_map(tmp_path / "slab.mrc")
    cube = read_map(tmp_path / "slab.mrc", pad=True)
    assert (cube.data.shape, cube.pixel_size) == ((4, 4, 4), 1.0)
    assert torch.equal(cube.data[1:3, 1:4], slab)
    assert cube.data[2, 2, 2] == slab[1, 1, 2]  # voxel side // 2 stays the origin
    assert float(cube.data.sum()) == pytest.approx(float(slab.sum()), rel=1e-6)


@pytest.mark.parametrize("n", [8, 12])
def test_a_stack_of_images_is_no_map(tmp_path, generator, n):
    with ImageStackWriter(tmp_path / "x.mrcs", n, 8, 1.0) as writer:
        writer.write(torch.randn(n, 8, 8, generator=generator))
    with pytest.raises(InputError, match="its header says that it is a stack of images; give a map"):
        read_map(tmp_path / "x.mrcs", pad=True)


def test_bytes_of_the_other_byte_order_are_read_where_sides_make_sense_in_both(tmp_path):
    data = np.arange(256**3, dtype=np.int64).astype(np.int8).reshape(256, 256, 256)
    with mrcfile.new(tmp_path / "x.mrc", overwrite=True) as file:
        file.set_data(data)
        file.voxel_size = 2.0
    raw = bytearray((tmp_path / "x.mrc").read_bytes())
    header = np.frombuffer(bytes(raw[:1024]), dtype=mrcfile.dtypes.HEADER_DTYPE)
    raw[:1024] = header.astype(mrcfile.dtypes.HEADER_DTYPE.newbyteorder(">")).tobytes()
    (tmp_path / "x.mrc").write_bytes(raw)
    assert np.array_equal(read_map(tmp_path / "x.mrc").data.numpy(), data.astype(np.float32))


def test_a_slab_is_not_padded_to_gigabytes(tmp_path):
    write_map(tmp_path / "stack.mrc", torch.rand(100, 12, 12), 1.0)
    with pytest.raises(InputError, match="12 x 12 x 100 voxels are too far from a cube .* is it a stack of images"):
        read_map(tmp_path / "stack.mrc", pad=True)


def test_axes_must_be_at_right_angles_unless_the_voxel_size_is_given(map_file):
    patch_header(map_file, cellb=(90.0, 94.5, 90.0))
    assert read_stored_map(map_file).cell_angles == (90, 94.5, 90)
    with pytest.raises(InputError, match=r"at right angles, but they are at 90, 94\.5, 90°; resample"):
        read_map(map_file)
    assert read_map(map_file, 2.0).pixel_size == 2.0
    patch_header(map_file, cellb=(0.0, 0.0, 0.0))  # old programs leave them out
    assert read_map(map_file).pixel_size == 1.31


def test_the_origin_is_what_either_convention_of_the_header_says(map_file):
    patch_header(map_file, nxstart=-2, nystart=3, nzstart=0)
    assert read_stored_map(map_file).origin == (-2.62, 3.93, 0.0)
    patch_header(map_file, mapc=3, mapr=1, maps=2)  # starts count along columns, rows and sections
    assert read_stored_map(map_file).origin == (3.93, 0.0, -2.62)
    patch_header(map_file, origin=(1.0, 2.0, 3.0))
    assert read_stored_map(map_file).origin == (1.0, 2.0, 3.0)


def test_maps_are_told_from_stacks(map_file, tmp_path):
    assert is_map_file(map_file)
    patch_header(map_file, ispg=0, mz=1)
    assert not is_map_file(map_file)
    write_map(tmp_path / "images.mrc", torch.rand(3, 4, 4), 1.0)
    assert not is_map_file(tmp_path / "images.mrc")
    (tmp_path / "images.mrc").rename(tmp_path / "slab.map")
    assert is_map_file(tmp_path / "slab.map")
    (tmp_path / "x.star").write_text("data_\n")
    assert not is_map_file(tmp_path / "x.star")


def test_voxels_must_be_cubes(map_file):
    patch_header(map_file, cella=(6.0, 6.0, 9.0))
    with pytest.raises(InputError, match=r"voxels must be cubes, but they measure 1 x 1 x 1\.5 Å"):
        read_map(map_file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_map_must_be_finite(tmp_path, volume, value):
    write_map(tmp_path / "bad.mrc", volume, 1.0)
    raw = (tmp_path / "bad.mrc").read_bytes()
    (tmp_path / "bad.mrc").write_bytes(raw[:-4] + np.float32(value).tobytes())
    with pytest.raises(InputError, match=r"bad\.mrc: the map holds NaN or infinite values"):
        read_map(tmp_path / "bad.mrc")
    volume[1, 2, 3] = value
    with pytest.raises(ResmfnError, match=r"new\.mrc: the map to write holds NaN or infinite values"):
        write_map(tmp_path / "new.mrc", volume, 1.0)


def test_voxel_size_must_be_known(map_file):
    patch_header(map_file, cella=(0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="does not say the voxel size; give --pixel-size"):
        read_map(map_file)
    assert read_map(map_file, 3.0).pixel_size == 3.0


def test_truncated_files_are_named(map_file, tmp_path):
    raw = map_file.read_bytes()
    map_file.write_bytes(raw[:-1])
    with pytest.raises(InputError, match=r"truncated: 6 x 6 x 6 numbers take 864 bytes, but 863 are there"):
        read_map(map_file)
    map_file.write_bytes(raw[:500])
    with pytest.raises(InputError, match=r"not an MRC file: it has 500 bytes"):
        read_map(map_file)
    (tmp_path / "x.mrc.gz").write_bytes(gzip.compress(raw)[:-200])
    with pytest.raises(InputError, match="the compressed file is damaged"):
        read_map(tmp_path / "x.mrc.gz")


def test_files_of_another_kind_are_named(tmp_path, map_file):
    (tmp_path / "text.mrc").write_text("no map at all\n" * 200)
    with pytest.raises(InputError, match=r"text\.mrc: not an MRC file: its header is invalid"):
        read_map(tmp_path / "text.mrc")
    patch_header(map_file, mode=4)
    with pytest.raises(InputError, match=r"numbers of MRC mode 4 cannot be read; convert it to one of the modes 0, 1"):
        read_map(map_file)


def test_map_to_write_must_have_three_dimensions(tmp_path):
    with pytest.raises(ShapeError, match=r"3 dimensions, got shape \(4, 4\)"):
        write_map(tmp_path / "x.mrc", torch.zeros(4, 4), 1.0)


@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=5), factor=st.floats(0.01, 100))
def test_stack_written_in_any_batches_is_the_stack(tmp_path_factory, sizes, factor):
    path = tmp_path_factory.mktemp("stack") / "s.mrcs"
    n = max(1, sum(sizes))
    images = torch.randn(n, 5, 5, generator=torch.Generator().manual_seed(n)) + 3
    with ImageStackWriter(path, n, 5, 1.25) as stack:
        for batch in images.split(sizes if sum(sizes) else [n]):
            stack.write(batch)
        stack.scale(factor)
    expected = images.numpy() * np.float32(factor)
    with mrcfile.open(path) as file:
        assert file.is_image_stack() or n == 1  # mrcfile takes one image for a picture
        assert np.array_equal(file.data.reshape(n, 5, 5), expected)
        header = file.header
        assert float(file.voxel_size.x) == pytest.approx(1.25)
        assert float(header.dmin) == pytest.approx(expected.min(), rel=1e-5)
        assert float(header.dmax) == pytest.approx(expected.max(), rel=1e-5)
        assert float(header.dmean) == pytest.approx(expected.mean(dtype=np.float64), rel=1e-5)
        assert float(header.rms) == pytest.approx(expected.std(dtype=np.float64), rel=1e-4)


def test_mrcfile_finds_nothing_wrong_with_a_written_stack(tmp_path, capsys):
    with ImageStackWriter(tmp_path / "s.mrcs", 7, 12, 1.5) as stack:
        stack.write(torch.randn(7, 12, 12))
    assert mrcfile.validate(tmp_path / "s.mrcs"), capsys.readouterr().out


def test_images_come_in_the_order_asked_for(tmp_path):
    images = torch.arange(5.0)[:, None, None].expand(5, 4, 4)
    with ImageStackWriter(tmp_path / "s.mrcs", 5, 4, 1.0) as stack:
        stack.write(images)
    assert read_stack_images(tmp_path / "s.mrcs", np.array([4, 0, 4, 2]))[:, 1, 1].tolist() == [4, 0, 4, 2]
    with pytest.raises(InputError, match=r"image 6 was asked for, but the stack has 5"):
        read_stack_images(tmp_path / "s.mrcs", np.array([0, 5]))


def test_stack_info_is_what_was_written(tmp_path):
    with ImageStackWriter(tmp_path / "s.mrcs", 2, 4, 1.07) as stack:
        stack.write(torch.rand(2, 4, 4))
    info = read_stack_info(tmp_path / "s.mrcs")
    assert (info.n_images, info.image_shape, info.pixel_size) == (2, (4, 4), 1.07)


def test_truncated_and_packed_stacks_are_named(tmp_path):
    path = tmp_path / "s.mrcs"
    with ImageStackWriter(path, 2, 4, 1.0) as stack:
        stack.write(torch.rand(2, 4, 4))
    raw = path.read_bytes()
    path.write_bytes(raw[:-10])
    with pytest.raises(InputError, match=r"s\.mrcs: the file is truncated: 4 x 4 x 2 numbers take 128 bytes, but 118"):
        read_stack_info(path)
    path.write_bytes(gzip.compress(raw))
    with pytest.raises(InputError, match="cannot be read while compressed with gzip; decompress it first"):
        read_stack_info(path)


@pytest.mark.parametrize("n_written", [1, 3])
def test_writer_must_get_as_many_images_as_announced(tmp_path, n_written):
    with (
        pytest.raises(ShapeError, match=f"2 images were expected, got {n_written}"),
        ImageStackWriter(tmp_path / "s.mrcs", 2, 4, 1.0) as stack,
    ):
        stack.write(torch.rand(n_written, 4, 4))
    assert list(tmp_path.iterdir()) == []


def test_writer_must_get_images_of_the_box_size(tmp_path):
    with (
        pytest.raises(ShapeError, match=r"images must have shape \(n, 4, 4\), got \(1, 4, 5\)"),
        ImageStackWriter(tmp_path / "s.mrcs", 2, 4, 1.0) as stack,
    ):
        stack.write(torch.rand(1, 4, 5))


def test_a_failure_while_writing_leaves_the_old_stack_alone(tmp_path):
    path = tmp_path / "s.mrcs"
    path.write_bytes(b"old")

    def fail_halfway():
        with ImageStackWriter(path, 2, 4, 1.0) as stack:
            stack.write(torch.rand(1, 4, 4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert [p.name for p in tmp_path.iterdir()] == ["s.mrcs"]
    assert path.read_bytes() == b"old"


def test_a_full_disk_is_one_line_before_the_first_image(tmp_path):
    with (
        small_files_only(),
        pytest.raises(InputError, match=r"cannot write .*s\.mrcs: File too large"),
        ImageStackWriter(tmp_path / "s.mrcs", 100, 16, 1.0),
    ):
        pytest.fail("the writer promised space that is not there")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_later_is_one_line_too(tmp_path, monkeypatch):
    monkeypatch.delattr("os.posix_fallocate")
    with (
        small_files_only(),
        pytest.raises(InputError, match=r"cannot write .*s\.mrcs: File too large"),
        ImageStackWriter(tmp_path / "s.mrcs", 100, 16, 1.0) as stack,
    ):
        stack.write(torch.rand(100, 16, 16))
    assert list(tmp_path.iterdir()) == []


def test_a_map_on_a_full_disk_is_one_line(tmp_path):
    with small_files_only(), pytest.raises(InputError, match=r"cannot write .*x\.mrc: File too large"):
        write_map(tmp_path / "x.mrc", torch.rand(16, 16, 16), 1.0)
    assert list(tmp_path.iterdir()) == []
