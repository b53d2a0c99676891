"""The section on the progress of a run: round by round, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resmfn.reports.html.charts import Axes, Line, line_chart
from resmfn.reports.html.elements import Markup
from resmfn.reports.html.text import card, columns, section
from resmfn.reports.run_record import RunRecord
from resmfn.reports.values import as_number

EPOCH_CHARTS = (
    ("loss", "loss of an epoch", "Loss", "It may rise when a finer scale is added: more frequencies are compared.", 3),
    (
        "pose_error_median",
        "median error (degrees)",
        "Pose error",
        "Against the true poses, which this preset needs.",
        2,
    ),
    ("pose_change", "rotation per epoch (degrees)", "Change of poses", "It should fall and stay low.", 4),
)
"""Name in metrics.jsonl, label, title, caption and color."""


def progress_section(record: RunRecord) -> Markup:
    """Return how resolution, likelihood and poses developed, round by round or epoch by epoch."""
    rounds, starts = record.rounds(), _starts(record)
    cards = _rounds(record) + _epochs(record)
    if starts:
        alt = "Log-likelihood of each start: " + ", ".join(f"{y:.2f}" for _, y in starts)
        chart = line_chart([Line(starts, "start", 1, dots=True, joined=False)], _start_axes(starts), alt)
        note = "Each begins at random. Starts within 1 of the best found the same solution."
        cards.append(card(chart, "Starts", note))
    order = ", then ".join(dict.fromkeys(str(row["stage"]) for row in rounds or record.metrics))
    how = f"Measured after each start, round or epoch ({order}). A good run improves quickly and then levels off."
    return section("progress", "Progress of the run", how, columns(cards))


def _starts(record: RunRecord) -> list[tuple[float, float]]:
    """Return number and log-likelihood of each start of the search."""
    rows = [row for row in record.metrics if row["stage"] == "search"]
    pairs = [
        (as_number(row.get("start")) or float(i), as_number(row.get("log_likelihood"))) for i, row in enumerate(rows, 1)
    ]
    return [(start, value) for start, value in pairs if value is not None]


def _rounds(record: RunRecord) -> list[Markup]:
    resolution = [(x, y) for x, y in record.series("resolution") if y > 0]
    turns = [(x, max(y, 1e-3)) for x, y in record.series("pose_change")]
    fits = [(x, 100 * y) for x, y in record.series("network_fit")]
    of_rounds = (
        "Lower is finer. Corrected for the mask, like the final resolution; limited by the frequencies of the round."
    )
    of_images = "Mean per image at its pose, relative to pure noise. It grows with the number of frequencies compared."
    of_fits = "Share of an explicit map's log-likelihood gain that the network reaches."
    return [
        *_over_rounds(resolution, "half maps of the round at 0.143 (Å)", "Agreement in each round", of_rounds, 1),
        *_over_rounds(record.series("log_likelihood"), "log-likelihood (nat)", "Log-likelihood", of_images, 3),
        *_over_rounds(
            turns, "median rotation (degrees)", "Change of poses", "It should fall and stay low.", 2, log=True
        ),
        *_over_rounds(fits, "reached (%)", "Fit of the network", of_fits, 4),
    ]


def _epochs(record: RunRecord) -> list[Markup]:
    """Return what the published preset measures after each epoch."""
    cards = []
    for name, label, title, note, color in EPOCH_CHARTS:
        points = record.epochs(name)
        if points:
            alt = f"{title}, {label}, over {len(points)} epochs: from {points[0][1]:.3g} to {points[-1][1]:.3g}."
            axes = Axes("epoch", label, (points[0][0], max(points[0][0] + 1, points[-1][0])))
            cards.append(card(line_chart([Line(points, title, color, dots=True)], axes, alt), title, note))
    return cards


def _start_axes(points: Sequence[tuple[float, float]]) -> Axes:
    """Leave room below the best, so that equal starts look equal."""
    best, worst = max(y for _, y in points), min(y for _, y in points)
    ticks = [(x, f"{x:.0f}") for x, _ in points]
    heights = (min(best - 2, worst - 0.2), best + 0.5)
    return Axes("start", "log-likelihood (nat)", (0.5, len(points) + 0.5), heights, x_ticks=ticks)


def _over_rounds(
    points: Sequence[tuple[float, float]], label: str, title: str, caption: str, color: int, *, log: bool = False
) -> list[Markup]:
    if not points:
        return []
    last = points[-1][0]
    step = max(1, math.ceil(last / 12))
    ticks = [(float(i), str(i)) for i in range(1, int(last) + 1, step)]
    alt = f"{title}, {label}, over {len(points)} rounds: from {points[0][1]:.3g} to {points[-1][1]:.3g}."
    axes = Axes("round", label, (1.0, float(max(2, last))), x_ticks=ticks, log_y=log)
    return [card(line_chart([Line(points, title, color, dots=True)], axes, alt), title, caption)]
