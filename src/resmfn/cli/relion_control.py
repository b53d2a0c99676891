"""How RELION learns what became of an External job, and how it asks one to stop: by empty files in the job's folder.

Whatever ends the job, flags that cannot be read or a defect included, leaves one of the three files, because RELION
waits for them. Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

SUCCESS, FAILURE, ABORTED = "RELION_JOB_EXIT_SUCCESS", "RELION_JOB_EXIT_FAILURE", "RELION_JOB_EXIT_ABORTED"
ABORT_NOW = "RELION_JOB_ABORT_NOW"
JOB_FLAG = "--o"
_ENDED_WELL = {0, 4}
"""Exit codes of `reconstruct` with maps to go on from: 4 says that they are not resolved."""
_STOPPED = {130, 143}
_ANSWERS = {"yes", "no"}


def supervise_job(arguments: Sequence[str], run: Callable[[list[str]], int]) -> int:
    """Run a job and leave RELION its outcome, however it ends.

    Parameters
    ----------
    arguments
        The command and its flags, as RELION gives them.
    run
        Runs them and returns the exit code.
    """
    arguments = join_answers(arguments)
    job = job_folder(arguments)
    if job is None:
        return run(arguments)
    for name in (SUCCESS, FAILURE, ABORTED):
        (job / name).unlink(missing_ok=True)
    outcome = FAILURE
    try:
        code = run(arguments)
        outcome = SUCCESS if code in _ENDED_WELL else ABORTED if code in _STOPPED else FAILURE
        return code
    finally:
        if job.is_dir():
            if outcome == ABORTED:
                (job / ABORT_NOW).unlink(missing_ok=True)
            (job / outcome).touch()


def is_abort_requested(job: Path) -> bool:
    """Say whether RELION asks the job in this folder to stop."""
    return (job / ABORT_NOW).exists()


def job_folder(arguments: Sequence[str]) -> Path | None:
    """Return the folder that follows ``--o``; None where there is none."""
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if flag == JOB_FLAG and value and not value.startswith("-"):
            return Path(value)
        if flag.startswith(f"{JOB_FLAG}="):
            return Path(flag.partition("=")[2])
    return None


def join_answers(arguments: Sequence[str]) -> list[str]:
    """Return arguments with ``--flag Yes`` as ``--flag=Yes``: RELION's form has a value beside each label."""
    joined: list[str] = []
    for argument in arguments:
        after_flag = joined and joined[-1].startswith("--") and "=" not in joined[-1]
        if after_flag and argument.lower() in _ANSWERS:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined
