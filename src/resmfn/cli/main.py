"""Entry point of the ``resmfn`` command: names its subcommands and turns errors into one line and an exit code.

Nothing heavy is imported here. A subcommand's module is imported when that subcommand runs, so that
``resmfn --help`` answers at once.
"""

import difflib
import os
import sys
from collections.abc import Sequence

import cyclopts

from resmfn import __version__
from resmfn.cli.number_flags import refuse_fractions
from resmfn.cli.settings_file import fill_from_settings_file
from resmfn.cli.terminal import QuietConsole, forget_output, prepare_streams

EXIT_OK = 0
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

#: Subcommand -> what ``resmfn --help`` says of it. The function ``name``, with _ for -, is in ``resmfn.cli.name``.
COMMANDS = {
    "check": "Say what a particle set is and what would fail, before hours are spent.",
    "convert": "Write particles in another format: RELION STAR, cryoSPARC .cs, or .npy files.",
    "simulate": "Make particle images, with or without known poses, from a map or a molecular model.",
    "project": "Make images of a map at the poses and optics of a STAR file.",
    "reconstruct": "Find poses and map from particle images, coarse to fine.",
    "evaluate": "Score a run, or two STAR files, against the truth: FSC, pose and shift errors.",
    "fit-image": "Fit band-limited fields to images, coarse to fine, in any of the paper's variants.",
    "fit-volume": "Fit a band-limited field to a density map, coarse to fine.",
    "render": "Sample a fitted field, an image or a volume, at any resolution and scale.",
    "align": "Rotate, shift and, where needed, mirror a map onto a reference.",
    "postprocess": "Validate and sharpen a map by its half maps: FSC, B-factor, local and directional resolution.",
    "fsc": "Compare two maps by Fourier shell correlation.",
    "symmetry": "Find the point group of a map, its axes, and to which resolution it holds.",
    "report": "Put a run on one page that opens from disk: map in 3-D, curves, poses, what to know.",
    "watch": "Watch a run: stage, resolution and time left, and its report as a page of this computer.",
    "doctor": "Say whether resmfn can run here, with what, and what to do about the rest.",
    "completion": "Print a script that completes commands and flags in bash, zsh or fish.",
}
TOP_LEVEL_FLAGS = ("--help", "-h", "--version")


def build_app(chosen: str | None = None) -> cyclopts.App:
    """Build the argument parser, its subcommands not yet imported.

    Parameters
    ----------
    chosen
        The command that runs: its help is its own description, whole; of the others a line is enough.
    """
    app = cyclopts.App(
        name="resmfn",
        help="Cryo-EM maps from particle images with unknown poses, by residual multiplicative filter networks.",
        version=__version__,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
        config=(fill_from_settings_file, refuse_fractions),
        console=QuietConsole(),
    )
    for name, summary in COMMANDS.items():
        module = name.replace("-", "_")
        app.command(f"resmfn.cli.{module}:{module}", name=name, help=None if name == chosen else summary)
    return app


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one ``resmfn`` command.

    Parameters
    ----------
    tokens
        Arguments after the program's name; ``None`` takes those of the process.

    Returns
    -------
    int
        Exit code: 0 done; 2 bad flags, files or values; 130 interrupted; whatever integer the command returned,
        as 3 where `reconstruct` found no structure, 4 where it did and could not resolve it; 141 where who read
        the output has left.
    """
    # Threads that spin while they wait burn several times the CPU seconds of the work, on a machine that is shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    prepare_streams()
    arguments = list(sys.argv[1:] if tokens is None else tokens)
    try:
        _require_known_command(arguments)
        result = build_app(arguments[0] if arguments else None)(
            arguments, exit_on_error=False, print_error=False, verbose=False
        )
        sys.stdout.flush()
    except cyclopts.CycloptsError as error:
        return _fail(f"{error} See `{_help_command(arguments)}`.")
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone (`resmfn ... | head`): leave quietly, also when Python flushes at exit.
        forget_output()
        return EXIT_BROKEN_PIPE
    except (MemoryError, RuntimeError) as error:
        text = _describe_lack_of_memory(error)
        if text is None:
            raise
        return _fail(text)
    except OSError as error:
        if error.filename is None:  # the output itself, on a full disk
            forget_output()
        return _fail(_describe_os_error(error))
    except ValueError as error:
        if not _is_own_error(error):
            raise
        return _fail(str(error))
    return result if isinstance(result, int) else EXIT_OK


def _require_known_command(arguments: Sequence[str]) -> None:
    """Refuse an unknown first word before any subcommand is imported, and suggest the nearest."""
    if not arguments or arguments[0] in (*COMMANDS, *TOP_LEVEL_FLAGS):
        return
    kind, choices = ("option", TOP_LEVEL_FLAGS) if arguments[0].startswith("-") else ("command", tuple(COMMANDS))
    nearest = difflib.get_close_matches(arguments[0], choices, n=1)
    hint = f"Did you mean {nearest[0]}?" if nearest else f"Choose from: {', '.join(choices)}."
    raise cyclopts.CycloptsError(msg=f'Unknown {kind} "{arguments[0]}". {hint}')


def _is_own_error(error: ValueError) -> bool:
    """Tell an error about the user's input from a fault of ours, which keeps its traceback."""
    from resmfn.core.errors import ResmfnError

    return isinstance(error, ResmfnError)


def _describe_lack_of_memory(error: Exception) -> str | None:
    """Say what to do where memory ran out, on a GPU or not; None for any other error."""
    from resmfn.core.chunked_work import is_out_of_memory, out_of_memory_text

    return out_of_memory_text(error) if is_out_of_memory(error) else None


def _describe_os_error(error: OSError) -> str:
    """Say what the system refused, and for which file."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _help_command(arguments: Sequence[str]) -> str:
    """Return the command whose help explains these arguments."""
    known = arguments[:1] if arguments and arguments[0] in COMMANDS else []
    return " ".join(["resmfn", *known, "--help"])


def _fail(message: str, code: int = EXIT_BAD_INPUT) -> int:
    """Print one line on standard error and return the exit code."""
    print(f"resmfn: {' '.join(message.split())}", file=sys.stderr)
    return code
