"""One structure from images with ramps, junk, coloured noise and wrong defocus, and from few or weak images.

Sets and scores are those of other programs, as for bench_classes.py, whose flags these are. ``gs`` and ``adk`` have all
faults at once; the others go from easy to hopeless. Where a case's half maps agree at a finer resolution than the map
agrees with the truth at 0.5, what the run says is too good; ``half_over_truth`` below 0.95 is too fine.
"""

from __future__ import annotations

from bench_classes import Mixture, run_cases

FAULTS = (
    "--structural", "0.6", "--color", "0.5", "--envelope", "60", "--defocus-error", "200", "--neighbors", "0.2",
    "--scale-range", "0.7", "1.4", "--ramp", "0.3", "--invert",
)  # fmt: skip
GS, ADK = ("3SN6.cif",), ("adk_open.pdb",)
LARGE = ("--box", "72", "--pixel-size", "3.2")
SMALL = ("--box", "64", "--pixel-size", "1.5")
COARSE = ("--box", "48", "--pixel-size", "2")


def _one(
    model: tuple[str, ...], mask_diameter: float, box: tuple[str, ...], *simulated: str, flags: tuple[str, ...] = ()
) -> Mixture:
    return Mixture(model, (*box, *simulated), mask_diameter, float(box[3]), "1", flags)


CASES = {
    "gs": _one(GS, 200.0, LARGE, "--b-factor", "60", "--n", "3000", "--shift-std", "4", "--junk", "0.2", *FAULTS),
    "adk": _one(ADK, 84.0, SMALL, "--b-factor", "40", "--n", "3000", "--shift-std", "3", *FAULTS),
    "weak-300": _one(ADK, 84.0, COARSE, "--n", "300", "--snr", "0.03"),
    "weak-1000": _one(ADK, 84.0, COARSE, "--n", "1000", "--snr", "0.01"),
    "easy": _one(ADK, 84.0, SMALL, "--n", "2000"),
    "few": _one(ADK, 84.0, SMALL, "--n", "300"),
    "snr-0.05": _one(ADK, 84.0, SMALL, "--n", "2000", "--snr", "0.05", "--shift-std", "3"),
    "aurora-ramps": _one(("1ol5.pdb",), 84.0, SMALL, "--n", "1500", "--snr", "0.05", "--ramp", "0.3", "--junk", "0.2"),
    "rhodopsin-views": _one(
        ("1u19.pdb",), 110.0, ("--box", "72", "--pixel-size", "2"), "--n", "800", "--snr", "0.05", "--preferred", "3"
    ),
    "8zpm-colour": _one(
        ("8zpm.cif",), 135.0, ("--box", "72", "--pixel-size", "2.2"), "--n", "1000", "--snr", "0.03", "--color", "0.5"
    ),
    "receptor-ice": _one(("4zxb.cif",), 210.0, LARGE, "--n", "1000", "--snr", "0.03", "--structural", "0.6"),
    "hopeless": _one(("adk_closed.pdb",), 84.0, SMALL, "--n", "300", "--snr", "0.01"),
}

if __name__ == "__main__":
    run_cases(CASES, "hard_sets", __doc__)
