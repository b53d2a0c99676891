"""Run tutorials: ``docs/tutorials/NAME.py`` with cells marked ``# %%`` becomes the executed notebook ``NAME.ipynb``.

Run as ``python docs/tools/notebooks.py`` for those whose code has changed, or with names. Cells run in this process,
one after the other, in an empty folder of their own; a cell that fails ends it, and the old notebook stays. Where only
text has changed, the outputs are kept. No Jupyter is needed.
"""

import argparse
import ast
import base64
import contextlib
import io
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt

TUTORIALS = Path(__file__).resolve().parents[1] / "tutorials"
DPI = 80


@dataclass(frozen=True)
class Cell:
    """A cell of a tutorial."""

    kind: str
    """code or markdown."""
    text: str
    line: int
    """Where its text begins in the file, from 1."""


def read_cells(source: str) -> list[Cell]:
    """Split a tutorial at its ``# %%`` lines; the lines of a markdown cell are comments."""
    cells = []
    parts = re.split(r"^# %%(.*)\n", source, flags=re.MULTILINE)
    line = 1 + parts[0].count("\n")
    for kind, body in zip(parts[1::2], parts[2::2], strict=True):
        is_text = "[markdown]" in kind
        text = re.sub(r"^# ?", "", body, flags=re.MULTILINE) if is_text else body
        cells.append(Cell("markdown" if is_text else "code", text.strip("\n"), line + 1))
        line += 1 + body.count("\n")
    return cells


def run_cells(cells: list[Cell], name: str) -> Iterator[list[dict[str, Any]]]:
    """Run the code cells in one namespace and yield the outputs of each; a markdown cell has none."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        yield _run(cell, name, namespace) if cell.kind == "code" else []


def _run(cell: Cell, name: str, namespace: dict[str, Any]) -> list[dict[str, Any]]:
    tree = ast.parse(cell.text, name)
    ast.increment_lineno(tree, cell.line - 1)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, name, "exec"), namespace)  # noqa: S102 - running cells is what this file is for
        value = eval(compile(ast.Expression(last.value), name, "eval"), namespace) if last else None  # noqa: S307
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())})
    outputs += [_picture(number) for number in plt.get_fignums()]
    plt.close("all")
    if value is not None:
        data = {"text/plain": _lines(repr(value))}
        outputs.append({"output_type": "execute_result", "execution_count": None, "data": data, "metadata": {}})
    return outputs


def _picture(number: int) -> dict[str, Any]:
    stream = io.BytesIO()
    figure = plt.figure(number)
    figure.savefig(stream, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    title = figure.get_label() or "figure"
    data = {"image/png": base64.b64encode(stream.getvalue()).decode(), "text/plain": [title]}
    return {"output_type": "display_data", "data": data, "metadata": {}}


def notebook(cells: list[Cell], outputs: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Put cells and their outputs together: notebook format 4.5."""
    count = 0
    written = []
    for i, (cell, results) in enumerate(zip(cells, outputs, strict=True), start=1):
        entry: dict[str, Any] = {"cell_type": cell.kind, "id": f"cell-{i}", "metadata": {}, "source": _lines(cell.text)}
        if cell.kind == "code":
            count += 1
            numbered = [r | {"execution_count": count} if "execution_count" in r else r for r in results]
            entry |= {"execution_count": count, "outputs": numbered}
        written.append(entry)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": written, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def execute(source: Path) -> dict[str, Any]:
    """Run a tutorial in an empty folder and return its notebook."""
    cells = read_cells(source.read_text())
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return notebook(cells, list(run_cells(cells, str(source))))


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def code_of(written: dict[str, Any]) -> list[str]:
    """Return the code cells of a notebook."""
    return ["".join(cell["source"]) for cell in written["cells"] if cell["cell_type"] == "code"]


def outputs_of(written: dict[str, Any], cells: list[Cell]) -> list[list[dict[str, Any]]] | None:
    """Return the outputs for the cells of a tutorial, or None if the notebook was made by other code."""
    if code_of(written) != [cell.text for cell in cells if cell.kind == "code"]:
        return None
    made = (cell["outputs"] for cell in written["cells"] if cell["cell_type"] == "code")
    return [next(made) if cell.kind == "code" else [] for cell in cells]


def main(names: list[str]) -> None:
    """Bring notebooks up to date; run those that are named in any case."""
    for source in [TUTORIALS / f"{name}.py" for name in names] or sorted(TUTORIALS.glob("*.py")):
        start, cpu = time.monotonic(), time.process_time()
        path, cells = source.with_suffix(".ipynb"), read_cells(source.read_text())
        kept = None if names or not path.exists() else outputs_of(json.loads(path.read_text()), cells)
        made = execute(source) if kept is None else notebook(cells, kept)
        text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
        path.write_text(text)
        seconds, cpu = time.monotonic() - start, time.process_time() - cpu
        print(f"{source.stem}: {seconds:.0f} s, {cpu:.0f} s of CPU, {len(text) // 1000} kB", file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="tutorials to run, without .py; by default those whose code changed")
    main(parser.parse_args().names)
