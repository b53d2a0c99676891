"""Other programs on the same images: how each is called, and what it leaves behind.

Images lie alone in a folder; each program is called as its documentation says, with what was reduced said beside it.
``where`` is the folder of a program's executables, for those that want an environment of their own; else PATH is asked.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_accuracy import StoppedAtLimitError, Usage, images_alone, run


@dataclass(frozen=True)
class Attempt:
    """What a program made of the images, and at what cost."""

    usage: list[Usage]
    """Of its commands, one after the other."""
    map: Path | None = None
    """None: it was stopped before there was one."""
    star: Path | None = None
    """Poses, in RELION's columns."""


@dataclass(frozen=True)
class Schedule:
    """How long the programs may work; tiny shows no more than that all of this runs."""

    relion: tuple[int, int, int]
    """Iterations of the three stages of the de novo map."""
    aspire_rows: int
    """Images, the first ones: time grows with their square or cube."""
    cryodrgn: str
    """Further flags."""


SCHEDULES = {
    "n2000": Schedule((40, 60, 15), 500, "-n 30 --epochs-pose-search 1 --n-imgs-pretrain 2000"),
    "n2000-box128": Schedule((40, 60, 15), 500, "-n 30 --epochs-pose-search 1 --n-imgs-pretrain 2000"),
    "tiny": Schedule(
        (4, 6, 2), 60, "-n 2 --n-imgs-pretrain 60 --n-imgs-pose-search 60 --l-start 4 --l-end 6 --base-healpy 1 "
        "--niter 1 --nkeptposes 1 --explicit-volume --batch-size-hps 4 --log-interval 60"
    ),
}  # fmt: skip

DE_NOVO = """relion_refine --o ./run --sgd_ini_iter {} --sgd_inbetween_iter {} --sgd_fin_iter {} --sgd_write_iter 10
--sgd_ini_resol 35 --sgd_fin_resol 10 --sgd_ini_subset 100 --sgd_fin_subset 500 --sgd --denovo_3dref
--i particles.star --ctf --K {n_classes} --sym C1 --flatten_solvent --zero_mask --dont_combine_weights_via_disc
--maxsig 100 --pool 50 --pad 1 --skip_gridding --particle_diameter {diameter:g} --oversampling 1 --healpix_order 1
--offset_range {shifts} --j 1 --random_seed 1"""
CENTERED = "0 --offset_step 0.2"
REFINE = """mpirun --allow-run-as-root --oversubscribe -n 3 relion_refine_mpi --o ./refined --auto_refine
--split_random_halves --i run_it{last:03}_data.star --ref run_it{last:03}_class001.mrc --ini_high 10
--dont_combine_weights_via_disc --pool 50 --pad 2 --ctf --particle_diameter 84 --flatten_solvent --zero_mask
--oversampling 1 --healpix_order 4 --auto_local_healpix_order 4 --offset_range 0 --offset_step 0.2 --sym C1
--low_resol_join_halves 20 --norm --scale --j 1 --random_seed 1"""


def relion(call: Callable[[str], Usage], folder: Path, schedule: Schedule) -> Attempt:
    """Find a map de novo and refine it: RELION 3.1 (Debian: relion and openmpi-bin)."""
    of_novo = {"n_classes": 1, "diameter": 84, "shifts": CENTERED}
    usage = [call(DE_NOVO.format(*schedule.relion, **of_novo)), call(REFINE.format(last=sum(schedule.relion)))]
    return Attempt(usage, folder / "refined_class001.mrc", folder / "refined_data.star")


def aspire(call: Callable[[str], Usage], folder: Path, schedule: Schedule) -> Attempt:
    """Find poses of some images by common lines: ASPIRE 0.14 (pip install aspire). RELION's program makes the map."""
    orient = "aspire orient3d --data_folder . --starfile_in particles.star --starfile_out oriented.star --max_shift 0"
    usage = [call(f"{orient} --max_rows {schedule.aspire_rows}")]
    star = folder / "oriented.star"  # its rows are those of the input, but name stacks that were never written
    star.write_text(re.sub(r"@\S+\.mrcs", "@particles.mrcs", star.read_text()))
    usage.append(call("relion_reconstruct --i oriented.star --o aspire.mrc --ctf"))
    return Attempt(usage, folder / "aspire.mrc", star)


def cryodrgn(call: Callable[[str], Usage], folder: Path, schedule: Schedule) -> Attempt:
    """Find a map ab initio: cryoDRGN 4.3 (pip install cryodrgn), homogeneous. It is made for GPUs."""
    usage = [
        call("cryodrgn parse_ctf_star particles.star -o ctf.pkl"),
        call(
            "cryodrgn abinit particles.mrcs --ctf ctf.pkl --zdim 0 -o drgn --no-trans --no-analysis "
            f"--uninvert-data --checkpoint 1 {schedule.cryodrgn}"
        ),
    ]
    last = max((folder / "drgn").glob("pose.*.pkl"), key=lambda path: path.stat().st_mtime)
    number = last.suffixes[0]
    with last.open("rb") as file:  # what the program just wrote here, so it is no stranger's pickle
        rotation = pickle.load(file)  # noqa: S301
    with (folder / "pose.pkl").open("wb") as file:  # write_star wants shifts, which --no-trans leaves out
        pickle.dump((rotation, np.zeros((len(rotation), 2))), file)
    usage.append(call("cryodrgn_utils write_star particles.mrcs --ctf ctf.pkl --poses pose.pkl -o drgn.star"))
    return Attempt(usage, folder / "drgn" / f"reconstruct{number}.mrc", folder / "drgn.star")


@dataclass(frozen=True)
class Peer:
    """A program that can be given images."""

    attempt: Callable[[Callable[[str], Usage], Path, Schedule], Attempt]
    needs: tuple[str, ...]
    """Executables."""
    install: str


PEERS = {
    "relion": Peer(relion, ("relion_refine", "relion_refine_mpi", "mpirun"), "apt-get install relion openmpi-bin"),
    "aspire": Peer(aspire, ("aspire", "relion_reconstruct"), "pip install aspire; apt-get install relion"),
    "cryodrgn": Peer(cryodrgn, ("cryodrgn", "cryodrgn_utils"), "pip install cryodrgn"),
}


def missing(name: str, where: Path | None) -> list[str]:
    """Return the executables of a program that are not there."""
    return [program for program in PEERS[name].needs if not shutil.which(program, path=_path(where))]


def attempt(name: str, data: Path, folder: Path, schedule: Schedule, where: Path | None, limit_s: int) -> Attempt:
    """Give a program the images; stop any of its processes at so many CPU seconds."""
    images_alone(data, folder)
    spent: list[Usage] = []

    def call(command: str) -> Usage:
        environment = {**os.environ, "PATH": _path(where)}
        spent.append(run(command.split(), folder=folder, environment=environment, limit_s=limit_s))
        return spent[-1]

    try:
        return PEERS[name].attempt(call, folder, schedule)
    except StoppedAtLimitError as stopped:
        return Attempt([*spent, stopped.usage])


def _path(where: Path | None) -> str:
    found = os.environ.get("PATH", os.defpath)
    return found if where is None else f"{where}{os.pathsep}{found}"
