"""What a run says of the symmetry that it was given, or that it relaxed."""

from __future__ import annotations

from resmfn.reconstruction.run.context import RunContext

KNOWN = 0.9
"""Probability from which on the copy that an image shows counts as known."""


def symmetry_test(run: RunContext) -> dict[str, object] | None:
    """Return what images left out say of the symmetry, under its documented keys; None of a run in C1."""
    test, shares = run.state.tests.copies, run.state.qualities.copy_shares
    if test is None:
        return None
    figures: dict[str, object] = {
        name: round(value, 4) if isinstance(value, float) else value for name, value in test.as_dict().items()
    }
    if shares is not None:
        figures["share_of_copies_known"] = round(float((shares.amax(dim=1) > KNOWN).double().mean()), 4)
    return figures


def symmetry_warnings(run: RunContext) -> list[str]:
    """Warn of a group that the molecule does not have, and of one that need not have been relaxed."""
    test = run.state.tests.copies
    if test is None or test.are_told_apart == (run.config.relax_symmetry is not None):
        return []
    group, by = test.group, f"{test.gain:.2g} ± {test.gain_error:.1g} nat"
    if run.config.relax_symmetry is None:
        return [
            f"the molecule does not have {group}: images left out fit a map without it better, by {by} each; run "
            f"without --symmetry or, if its copies are nearly alike, with --relax-symmetry {group}"
        ]
    return [
        f"the copies of {group} were not told apart: images left out fit a map whose copies differ no better ({by} "
        f"each), so that differences in this map may be noise; with --symmetry {group} each image counts more"
    ]


def verdict_on_symmetry(run: RunContext) -> str:
    """Return what a verdict adds where the group is wrong."""
    wrong = run.config.relax_symmetry is None and run.state.tests.tell_copies_apart
    return f"; the molecule does not have {run.config.symmetry} (see warnings)" if wrong else ""
