"""Numbers on the command line: finite, within their range, and whole where they count something."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import cyclopts
from cyclopts import Parameter
from cyclopts.argument import ArgumentCollection

from resmfn.core.numbers import NumberRange, value_text


def in_range(allowed: NumberRange, help_text: str) -> Parameter:
    """Return a flag's description with the range of its number: for what goes to a function and to no settings.

    Parameters
    ----------
    allowed
        What the number must be.
    help_text
        What it is.
    """
    return Parameter(help=help_text, validator=_validator(allowed))


def _validator(allowed: NumberRange) -> Callable[[Any, Any], None]:
    def check(_: object, value: object) -> None:
        fault = None if value is None else allowed.fault(value)
        if fault is not None:
            raise ValueError(f"It must be {fault}.")

    return check


def refuse_fractions(_: cyclopts.App, __: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse 17.5 where a whole number is asked for: the parser would round it.

    Called by cyclopts once for each command, after the command line was read.

    Raises
    ------
    cyclopts.CycloptsError
        Names the flag.
    """
    for argument in arguments:
        kinds = {argument.hint, *get_args(argument.hint)}
        if int not in kinds or str in kinds:
            continue
        for token in argument.tokens:
            try:
                value = float(token.value)
            except ValueError:
                continue  # the parser says what is wrong
            if not value.is_integer() or math.isinf(value):
                raise cyclopts.CycloptsError(
                    msg=f"{argument.name} must be a whole number, got {value_text(token.value)}."
                )
