"""Tutorials run, and the notebooks that are shown came out of their sources; figures come out of their scripts."""

import importlib.util
import json
import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
SOURCES = sorted((DOCS / "tutorials").glob("*.py"))
SLOW = {"mixture", "relion-set", "simulate-and-reconstruct"}  # whole reconstructions
FIGURES = sorted((DOCS / "figures").glob("*.py"))


@pytest.fixture(scope="module")
def notebooks():
    """Return the module that runs tutorials."""
    spec = importlib.util.spec_from_file_location("notebooks", DOCS / "tools" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_nine():
    assert len(SOURCES) == 9


@pytest.mark.parametrize("name", ["deconvolution", "parallel-beam-ct", "undersampled-mri"])
def test_an_inverse_problem_takes_thirty_lines_of_code(name):
    lines = (DOCS / "tutorials" / f"{name}.py").read_text().splitlines()
    assert len([line for line in lines if line.strip() and not line.startswith("#")]) <= 30


@pytest.mark.parametrize("name", ["deconvolution", "parallel-beam-ct", "undersampled-mri"])
def test_a_network_is_shown_to_be_nearer_the_truth_than_least_squares(notebooks, name):
    shown = json.loads((DOCS / "tutorials" / f"{name}.ipynb").read_text())["cells"]
    printed = "".join("".join(o["text"]) for c in shown for o in c.get("outputs", []) if "text" in o)
    errors = dict(re.findall(r"^(\w.*?) *relative error ([\d.]+)$", printed, re.MULTILINE))
    network = [float(value) for title, value in errors.items() if title.startswith("network")][-1]
    assert network < 0.85 * float(errors["least squares"])


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_notebook_is_of_this_source(notebooks, source):
    cells = notebooks.read_cells(source.read_text())
    shown = json.loads(source.with_suffix(".ipynb").read_text())["cells"]
    assert ["".join(cell["source"]) for cell in shown] == [cell.text for cell in cells]
    assert all(cell["execution_count"] for cell in shown if cell["cell_type"] == "code")
    assert any(cell.get("outputs") for cell in shown)


def test_cells_share_names_and_show_what_they_print_and_end_with(notebooks, tmp_path):
    source = tmp_path / "t.py"
    source.write_text("# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nx = 2\nprint('x')\n\n# %%\nx + 1\n")
    text, first, second = notebooks.execute(source)["cells"]
    assert "".join(text["source"]) == "# Title\n\ntext"
    assert first["outputs"] == [{"output_type": "stream", "name": "stdout", "text": ["x\n"]}]
    assert second["outputs"][0]["data"] == {"text/plain": ["3"]}


def test_a_cell_that_fails_ends_the_run_and_names_its_line(notebooks, tmp_path):
    source = tmp_path / "t.py"
    source.write_text("# %%\nx = 2\n\n# %%\n\ny = x / 0\n")
    with pytest.raises(ZeroDivisionError) as error:
        notebooks.execute(source)
    assert error.traceback[-1].lineno + 1 == 5


@pytest.mark.parametrize(
    "source",
    [pytest.param(s, marks=pytest.mark.long) if s.stem in SLOW else s for s in SOURCES],
    ids=lambda path: path.stem,
)
def test_the_tutorial_runs(notebooks, source):
    made = notebooks.execute(source)
    shown = json.loads(source.with_suffix(".ipynb").read_text())
    pictures = [[("image/png" in o.get("data", {})) for o in c.get("outputs", [])] for c in made["cells"]]
    assert pictures == [[("image/png" in o.get("data", {})) for o in c.get("outputs", [])] for c in shown["cells"]]


@pytest.mark.long
@pytest.mark.parametrize("script", FIGURES, ids=lambda path: path.stem)
def test_the_figure_is_drawn(script, tmp_path):
    names = runpy.run_path(str(script), run_name="figure")
    assert names["IMAGE"].is_file()  # the one that is committed
    names["main"].__globals__["IMAGE"] = tmp_path / "figure.png"
    names["main"]()
    assert (tmp_path / "figure.png").stat().st_size > 5000
