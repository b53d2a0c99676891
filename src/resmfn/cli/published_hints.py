"""Hints for users who type the flags of the paper's published scripts."""

from __future__ import annotations

from collections.abc import Sequence

_WITH_DEVICE = ("reconstruct", "fit-image", "fit-volume")


def published_hint(arguments: Sequence[str]) -> str:
    """Return what stands here for ``--gpu 0``, or for positional arguments, of the published scripts; else nothing.

    Parameters
    ----------
    arguments
        Command line after the program's name, which the parser refused.
    """
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    hints = []
    if command in _WITH_DEVICE and any(word == "--gpu" or word.startswith("--gpu=") for word in rest):
        hints.append("The published --gpu 0 is --device cuda (CUDA_VISIBLE_DEVICES=0 chooses the GPU).")
    if command == "reconstruct" and _n_positional(rest) > 1:
        hints.append(
            "The only positional argument is the particles, for --preset published their folder; "
            "give the run folder as --out RUN and the map as --volume MAP."
        )
    return " ".join(hints)


def _n_positional(words: Sequence[str]) -> int:
    """Count the words before the first flag."""
    flags = [i for i, word in enumerate(words) if word.startswith("-")]
    return flags[0] if flags else len(words)
