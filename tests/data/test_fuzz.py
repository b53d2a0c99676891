"""Thousands of damaged files: each is read or refused; none hangs, crashes or takes memory without bound."""

import json
import random
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from data import fuzzing
from resmfn.data import read_particles, write_particles

FUZZER = Path(fuzzing.__file__)
FORMATS = ("star", "cs", "csdat", "mrc")
CORPUS = {"star": "star/*.star", "cs": "cs/*.cs", "mrc": "maps/*"}


def csdat_bytes(records: np.ndarray) -> bytes:
    """Return records in cryoSPARC's newer container, fields not packed but one, texts at the end."""
    dtype = [[name, "|O" if kind.kind == "S" else kind.base.str, *([list(kind.shape)] if kind.shape else [])]
             for name, kind in ((name, records.dtype[name]) for name in records.dtype.names)]  # fmt: skip
    packed = {"length": len(records), "dtype": dtype, "compression": "lz4", "compressed_fields": [dtype[0][0]]}
    header, blocks, heap = json.dumps(packed).encode(), b"", b"\0"
    for name, kind, *_ in dtype:
        data = records[name].tobytes()
        if kind == "|O":
            places = []
            for text in records[name]:
                places.append(len(heap))
                heap += bytes(text) + b"\0"
            data = np.array(places, dtype="<u8").tobytes()
        if name in packed["compressed_fields"]:  # all literals: a token, the rest of the length, the bytes
            more = len(data) - 15
            data = b"\xf0" + b"\xff" * (more // 255) + bytes([more % 255]) + data
        blocks += len(data).to_bytes(4, "little") + data
    return b"\x95CSDAT" + len(header).to_bytes(4, "little") + header + blocks + heap


def seeds(kind: str, folder: Path, particle_file, corpus: Path | None) -> list[Path]:
    star = particle_file()
    particles = read_particles(star)
    write_particles(folder / "seed.cs", particles)
    if kind == "csdat":
        (folder / "seed.csdat").write_bytes(csdat_bytes(np.load(folder / "seed.cs", allow_pickle=False)))
    with mrcfile.new(folder / "seed.mrc") as file:
        file.set_data(np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32))
        file.voxel_size = 1.5
    own = {"star": [star], "cs": [folder / "seed.cs"], "csdat": [folder / "seed.csdat"], "mrc": [folder / "seed.mrc"]}
    real = sorted(corpus.glob(CORPUS[kind])) if corpus is not None and kind in CORPUS else []
    return own[kind] + [path for path in real if path.stat().st_size < 40_000]


def fuzz(kind: str, n_cases: int, folder: Path, files: list[Path]) -> dict:
    return fuzzing.run_program(FUZZER, kind, n_cases, folder, *files)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_the_fuzzer_damages_is_whole(kind, tmp_path, particle_file):
    (whole,) = seeds(kind, tmp_path, particle_file, None)
    assert fuzzing.read(kind, whole.rename(tmp_path / f"x.{'cs' if kind == 'csdat' else kind}"), random.Random(0))


@pytest.mark.parametrize("kind", FORMATS)
def test_some_damaged_files_are_read_or_refused(kind, tmp_path, particle_file):
    found = fuzz(kind, 150, tmp_path, seeds(kind, tmp_path, particle_file, None))
    assert found["refused"] > 20
    assert found["pool"] > 5  # the fuzzer follows the code


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.parametrize("kind", FORMATS)
def test_many_damaged_files_are_read_or_refused(kind, tmp_path, particle_file, shared):
    found = fuzz(kind, 20_000, tmp_path, seeds(kind, tmp_path, particle_file, shared / "corpus"))
    print(json.dumps(found))
    assert found["cases"] == 20_000
    assert found["refused"] > 1000
    assert found["read"] > 100
    assert found["peak_memory_mib"] < 1500
