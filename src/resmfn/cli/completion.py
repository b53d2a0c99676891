"""``resmfn completion``: a script that teaches a shell the commands and flags."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Which shell.")],
) -> None:
    """Print a script that completes commands and flags in a shell.

    For bash, put it where completions are kept:
    resmfn completion bash > ~/.local/share/bash-completion/completions/resmfn
    """
    from resmfn.cli.main import build_app

    print(build_app().generate_completion(prog_name="resmfn", shell=shell))
