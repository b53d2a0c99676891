"""Entry point of the ``resmfn`` command: lists the subcommands and turns each error into one line and an exit code.

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
from resmfn.cli.relion_control import supervise_job
from resmfn.cli.settings_file import fill_from_settings_file
from resmfn.cli.terminal import QuietConsole, forget_output, prepare_streams

EXIT_OK = 0
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

#: Subcommand -> its line in ``resmfn --help``. The function ``name``, with _ for -, is in ``resmfn.cli.name``.
COMMANDS = {
    "check": "Describe a particle set, and list what would make a reconstruction fail.",
    "convert": "Write particles in another format: RELION STAR, cryoSPARC .cs, or .npy files.",
    "simulate": "Simulate particle images from a map or a molecular model.",
    "project": "Project a map at the poses and optics of a STAR file.",
    "reconstruct": "Reconstruct a map from particle images with unknown poses, coarse to fine.",
    "relion-job": "Run reconstruct as an External job of RELION.",
    "select": "Write the good particles of a run, or of some classes, for the next job.",
    "evaluate": "Score a run, or two STAR files, against the truth: FSC, pose and shift errors.",
    "fit-image": "Fit band-limited fields to images, coarse to fine, in any of the paper's variants.",
    "fit-volume": "Fit a band-limited field to a density map, coarse to fine.",
    "render": "Sample a fitted field, an image or a volume, at any resolution and scale.",
    "align": "Align a map to a reference: rotation, shift and hand.",
    "postprocess": "Validate and sharpen a map from its half maps: FSC, B-factor, local and directional resolution.",
    "fsc": "Compare two maps by Fourier shell correlation.",
    "symmetry": "Find the point group of a map, its axes, and to which resolution it holds.",
    "cryosparc-group": "Write a run, and each of its classes, as result groups that cryoSPARC imports.",
    "deposit": "Gather what EMDB asks for: maps, half maps, mask, FSC, picture, values and methods.",
    "report": "Write the report of a run, one HTML page: map in 3-D, curves, poses, warnings.",
    "watch": "Follow a run: stage, resolution, time left, and its report live in the browser.",
    "doctor": "Check whether resmfn can run on this machine, and what to do if not.",
    "completion": "Print a script that completes commands and flags in bash, zsh or fish.",
}
RELION_JOB = "relion-job"
TOP_LEVEL_FLAGS = ("--help", "-h", "--version")


def build_app(chosen: str | None = None) -> cyclopts.App:
    """Build the argument parser, its subcommands not yet imported.

    Parameters
    ----------
    chosen
        The command that runs; it shows its full description, the others one line.
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
        such as 3 if `reconstruct` found no structure, 4 if it found one but no resolution; 141 if the reader of
        the output has gone.
    """
    # Threads that spin while they wait burn several times the CPU seconds of the work, on a machine that is shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # PyTorch asks Linux for pages of 2 MiB: maps of 200 voxels a side cost 258 million faults on pages of 4 KiB.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    prepare_streams()
    arguments = list(sys.argv[1:] if tokens is None else tokens)
    return supervise_job(arguments, _run) if arguments[:1] == [RELION_JOB] else _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    """Run a command, turn errors into one line, and return the exit code."""
    try:
        _require_known_command(arguments)
        result = build_app(arguments[0] if arguments else None)(
            arguments, exit_on_error=False, print_error=False, verbose=False
        )
        sys.stdout.flush()
    except cyclopts.CycloptsError as error:
        from resmfn.cli.published_hints import published_hint

        hint = published_hint(arguments)
        said = f"{str(error).partition(' Did you mean')[0]} {hint}" if hint else str(error)
        return _fail(f"{said} See `{_help_command(arguments)}`.")
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
    from resmfn.core.errors import one_line  # here, so that `resmfn --help` does not wait for it

    print(f"resmfn: {one_line(message)}", file=sys.stderr)
    return code
