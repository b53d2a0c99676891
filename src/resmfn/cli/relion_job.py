"""``resmfn relion-job``: flags as RELION's External job type gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from resmfn.cli.companions import CORES, Companions
from resmfn.cli.number_flags import in_range
from resmfn.cli.real_data_flags import RealDataFlags
from resmfn.cli.reconstruct import ProgressDisplay, run_to_exit_code
from resmfn.cli.relion_control import is_abort_requested
from resmfn.cli.search_flags import SearchFlags

_FLAG = Parameter(negative="")
_NOTHING_SPECIAL = RealDataFlags()
_PLAIN_SEARCH = SearchFlags()


def relion_job(
    *,
    o: Annotated[Path | None, Parameter(name="--o", help="Folder of the job: RELION gives it. Required.")] = None,
    in_parts: Annotated[
        Path | None, Parameter(name="--in_parts", help="particles.star, of the form's Input particles. Required.")
    ] = None,
    in_3dref: Annotated[
        Path | None, Parameter(name="--in_3dref", help="Map to start from, of the form's Input 3D reference.")
    ] = None,
    in_mask: Annotated[Path | None, Parameter(name="--in_mask", help="Soft mask, of the form's Input 3D mask.")] = None,
    j: Annotated[
        int, Parameter(name="--j"), in_range(CORES, "CPU cores to use: Threads of the form's Running tab.")
    ] = 1,
    pipeline_control: Annotated[  # noqa: ARG001 - RELION's own programs are told their job's folder a second time
        Path | None, Parameter(name="--pipeline_control", help="Ignored: RELION gives it to some programs.")
    ] = None,
    search: SearchFlags = _PLAIN_SEARCH,
    pixel_size: Annotated[float | None, Parameter(help="Å per pixel, in place of what the files say.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], Parameter(help="Where to compute.")] = "auto",
    seed: Annotated[int, Parameter(help="Random seed of the run.")] = 0,
    real: RealDataFlags = _NOTHING_SPECIAL,
    overwrite: Annotated[
        bool, _FLAG, Parameter(help="Start again, in place of going on with the run that is there.")
    ] = False,
) -> int:
    """Run `reconstruct` as an External job of RELION (docs/relion-cryosparc-chimerax.md).

    Particles, map, half maps and mask become nodes of the project's pipeline. A job that RELION continues goes on where
    it was. A flag is given in the form as a parameter: its name without the dashes as label, its value as value.
    """
    from resmfn.core import InputError
    from resmfn.reconstruction import ReconstructionConfig
    from resmfn.reconstruction.relion_job import RUN_FOLDER, reconstruct_as_relion_job, settings_of_relion_job

    flags = vars(search) | vars(real)
    for name, node, given in (("reference", "--in_3dref", in_3dref), ("mask", "--in_mask", in_mask)):
        if given is not None and flags[name] is not None:
            raise InputError(f"{node} and --{name} say the same twice; give one of them")
        flags[name] = flags[name] or given
    settings = ReconstructionConfig(
        particles=in_parts or Path(), out=(o or Path()) / RUN_FOLDER, pixel_size=pixel_size, device=device, seed=seed,
        overwrite=overwrite, **flags,
    )  # fmt: skip
    # Not required by the parser, which would then complain of them before it names a flag that is unknown or wrong.
    if o is None or in_parts is None:
        missing = "--o, the folder of the job" if o is None else "--in_parts, the form's Input particles"
        raise InputError(f"relion-job needs {missing}")
    o.mkdir(parents=True, exist_ok=True)
    settings = settings_of_relion_job(settings, o)
    with Companions("auto", device, cores=j, memory=settings.memory) as companions:
        companions.begin(settings)
        return run_to_exit_code(
            lambda show, stop: reconstruct_as_relion_job(settings, o, show, stop=stop),
            ProgressDisplay(),
            lambda: is_abort_requested(o),
        )
