"""``resmfn cryosparc-group``: flags, and which groups to import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resmfn.cli.input_flags import DataDir


def cryosparc_group(
    run: Annotated[Path, Parameter(help="Finished run, or the folder of one of its classes.")],
    *,
    out: Annotated[Path, Parameter(help="Folder to make.")],
    datadir: DataDir = None,
) -> None:
    """Write a run, and each of its classes, as result groups for cryoSPARC's job "Import Result Group".

    Every column of the input is kept. Particles that came from cryoSPARC keep their uid and their images' paths within
    their project; images of a STAR file are linked into the folder.
    """
    from resmfn.reports.exports.cryosparc_group import write_result_groups

    written = write_result_groups(run, out, datadir=datadir)
    print(f"{written.n_particles} particles; to import in cryoSPARC:")
    for group in written.groups:
        print(f"  {group.resolve()}")
