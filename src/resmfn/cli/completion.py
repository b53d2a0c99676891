"""``resmfn completion``: a completion script for a shell."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Shell that the script is for.")],
) -> None:
    """Print a script that completes commands and flags in a shell.

    For bash, save it where completions are looked up:
    resmfn completion bash > ~/.local/share/bash-completion/completions/resmfn
    """
    from resmfn.cli.main import build_app

    print(build_app().generate_completion(prog_name="resmfn", shell=shell))
