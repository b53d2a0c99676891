"""The sections of a run with several classes: what they are, how many there are, and who is in which."""

from __future__ import annotations

from typing import Any

from resmfn.reports.html.charts import Axes, Line, line_chart
from resmfn.reports.html.elements import Markup, element
from resmfn.reports.html.text import card, columns, section
from resmfn.reports.run_record import CLASS_FOLDER, RunRecord
from resmfn.reports.tables import angstrom
from resmfn.reports.values import as_number, listed, number, words


def classes_section(record: RunRecord) -> Markup:
    """Return the table of classes, each with a link to a page of its own."""
    heads = ("Class", "Images", "Share", "Half maps agree to", "What to know")
    head = element("tr", [element("th", name, scope="col") for name in heads])
    lines = [_line(record, row) for row in record.classes]
    body = element("table", element("thead", head), element("tbody", lines), class_="plain")
    n, bad = number(record.summary, "n_particles") or 0, number(record.summary, "n_bad") or 0
    caption = f"{bad:,.0f} of {n:,.0f} images belong to no class: bad_particles.txt" if bad else ""
    how = "Classes by size. Each has half maps of its own, from half sets that were drawn before there were classes."
    return section("classes", "Classes", how, card(body, "", caption))


def number_section(record: RunRecord) -> Markup | None:
    """Return how many classes images that were left out tell apart: the likelihood against the number of classes."""
    rows = [row for row in listed(record.summary, "branching") if isinstance(row, dict)]
    best: dict[float, float] = {}
    for row in rows:
        n, value = as_number(row.get("classes")), as_number(row.get("log_likelihood"))
        if n is not None and value is not None:
            best[n] = max(value, best.get(n, value))
    if not best:
        return None
    tried = [element("li", _words_of_try(row)) for row in rows if "gain" in row]
    line = Line(sorted(best.items()), "images left out", dots=True)
    ticks = [(n, f"{n:.0f}") for n in sorted(best)]
    axes = Axes("number of classes", "mean log-likelihood, nat", x_ticks=ticks)
    chart = line_chart([line], axes, "Log-likelihood of images left out against the number of classes")
    how = (
        "Images that no map was made from say whether one class more describes them better. A class is divided only if "
        "its images are likelier under several maps, beyond chance."
    )
    cards = [card(chart, "One class more"), card(element("ul", tried), "What was tried")]
    return section("number", "How many classes", how, columns(cards))


def flow_section(record: RunRecord) -> Markup | None:
    """Return how many images each class gained and lost in each round."""
    flows = [flow for flow in listed(record.summary, "class_flow") if _is_square(flow, len(record.classes))]
    if not flows:
        return None
    classes = range(len(record.classes))
    heads = ["Round", *(f"Class {k + 1}" for k in classes), "Changed class"]
    lines = [element("thead", element("tr", [element("th", name, scope="col") for name in heads]))]
    for count, flow in enumerate(flows, start=1):
        cells = [element("th", str(count), scope="row")]
        for k in classes:
            n_after, stayed = sum(row[k] for row in flow), flow[k][k]
            gained, lost = n_after - stayed, sum(flow[k]) - stayed
            cells.append(element("td", f"{n_after:,} (+{gained:,} -{lost:,})"))
        changed = sum(map(sum, flow)) - sum(flow[k][k] for k in classes)
        lines.append(element("tr", [*cells, element("td", f"{changed:,}")]))
    how = (
        "Images whose likeliest class each was after a round, and how many it had gained and lost. Classes are settled "
        "when few images change; classes that keep exchanging images are alike."
    )
    return section("flow", "Images between classes, by round", how, card(element("table", lines, class_="plain")))


def _is_square(flow: Any, n_classes: int) -> bool:
    rows = flow if isinstance(flow, list) else []
    return len(rows) == n_classes and all(
        isinstance(row, list) and len(row) == n_classes and all(type(n) is int for n in row) for row in rows
    )


def _line(record: RunRecord, row: dict[str, Any]) -> Markup:
    folder = words(row, "folder")
    name: Markup | str = folder.replace("class", "Class ")
    if CLASS_FOLDER.fullmatch(folder) and (record.folder / folder / "report.html").is_file():
        name = element("a", name, href=f"{folder}/report.html")
    resolution, share = number(row, "resolution_half_0143"), number(row, "share")
    cells = [
        element("th", name, scope="row"),
        element("td", f"{number(row, 'n_particles') or 0:,.0f}"),
        element("td", "" if share is None else f"{share:.1%}"),
        element("td", "nowhere" if resolution is None else angstrom(resolution, record.nyquist)),
        element("td", words(row, "verdict")),
    ]
    return element("tr", cells)


def _words_of_try(row: dict[str, Any]) -> str:
    n, maps, gain, error = (number(row, name) or 0.0 for name in ("classes", "maps", "gain", "error"))
    agreement = number(row, "agreement")
    alike = "" if agreement is None else f"; what the halves found correlates {agreement:.2f}"
    return f"of {n:.0f}, one as {maps:.0f}: {gain:+.2f} ± {error:.2f} nat an image{alike}"
