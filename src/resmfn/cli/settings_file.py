"""``--config RUN/config.yaml``: the settings of an earlier run, unless the command line overrides them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cyclopts
from cyclopts.argument import Argument, ArgumentCollection, Token

FLAG, PARTICLES = "--config", "--particles"
NOT_TAKEN = {"out", "resume", "overwrite"}
"""Settings that belong to one run and are not taken over."""


def fill_from_settings_file(_: cyclopts.App, __: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill every flag that the command line leaves open from the file of ``--config``.

    Called by cyclopts once for each command, after the command line was read.

    Raises
    ------
    cyclopts.CycloptsError
        The file is not there, holds no settings, or has one that the command does not know.
    """
    by_name = {name: argument for argument in arguments for name in argument.names}
    config = by_name.get(FLAG)
    if config is None or not config.tokens:
        return
    path = Path(config.tokens[-1].value)
    settings = {name: value for name, value in _read(path).items() if name not in NOT_TAKEN and value is not None}
    given = by_name[PARTICLES].tokens if PARTICLES in by_name else []
    if given and Path(given[-1].value).absolute() != Path(str(settings.get("particles"))).absolute():
        settings.pop("datadir", None)  # it belongs to the particles of the earlier run
    for name, value in settings.items():
        argument = by_name.get("--" + str(name).replace("_", "-"))
        if argument is None:
            raise cyclopts.CycloptsError(
                msg=f"{FLAG} {path}: there is no setting {str(name)[:80]!r}; correct or remove it."
            )
        if not argument.tokens:
            _fill(argument, value, path)


def _fill(argument: Argument, value: Any, path: Path) -> None:
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, (dict, list)) for item in items):
        raise cyclopts.CycloptsError(msg=f"{FLAG} {path}: {argument.name} must be a plain value; correct it.")
    for index, item in enumerate(items):
        argument.append(Token(keyword=argument.name, value=str(item), source=str(path), index=index))


def _read(path: Path) -> dict[str, Any]:
    from resmfn.core import InputError  # here, so that `resmfn --help` does not wait for it
    from resmfn.data.runs.plain_settings import read_settings

    try:
        settings = read_settings(path)
    except InputError as error:
        raise cyclopts.CycloptsError(msg=f"{FLAG} {error}.") from None
    if not settings:
        raise cyclopts.CycloptsError(msg=f"{FLAG} {path}: not a settings file (YAML, one `name: value` per line).")
    return settings
