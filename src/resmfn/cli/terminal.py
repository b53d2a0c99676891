"""Output to a terminal, a pipe or a closed stream: ASCII where the encoding needs it, nothing if the stream is gone."""

from __future__ import annotations

import codecs
import os
import sys
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import ConsoleOptions

_PLAIN = {"Å": "A", "²": "^2", "°": " degrees", "±": "+-", "−": "-", "–": "-", "…": "...", "×": "x", "≤": "<="}


class QuietConsole(Console):
    """A console that raises BrokenPipeError when its reader has gone, instead of ending the program."""

    def on_broken_pipe(self) -> None:
        """Raise it for the caller to handle."""
        raise BrokenPipeError


class OwnFlagsFirst:
    """Shows the flags of one command before those that it shares with others.

    Parameters
    ----------
    *names
        Its own, as written.
    """

    def __init__(self, *names: str) -> None:
        self._names = names

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Render a panel of the help page."""
        from cyclopts.help.formatters import DefaultFormatter

        panel.entries.sort(key=lambda entry: not entry.required and not set(entry.names) & set(self._names))
        DefaultFormatter()(console, options, panel)


def prepare_streams() -> None:
    """Replace closed output streams by the null device, and let the others fall back to ASCII."""
    codecs.register_error("plain", _in_plain_letters)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who called us: `resmfn ... >&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - for the process's life
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="plain")


def forget_output() -> None:
    """Discard the rest of the output, including what Python flushes at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # no file stands behind it
        return


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter, "?") for letter in lost), error.end
