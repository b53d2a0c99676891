"""Nothing that a file says becomes markup: by how pages are built, and shown with hostile text in every field."""

import ast
import html
import io
import json
import re
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import resmfn.reports
from reports.example_run import make_fit, make_run
from reports.harmless import require_harmless
from resmfn.core import InputError
from resmfn.data.runs import arrays
from resmfn.reports import inputs
from resmfn.reports.html.elements import Markup, element, joined, own_code
from resmfn.reports.report import build_page
from resmfn.reports.run_record import read_run

HOSTILE = (
    "\"'><b-evil onclick=alert(1)></script></style></title><script>alert(2)</script>"
    '<meta http-equiv="refresh" content="0;url=http://evil.example/"><img src=http://evil.example/ onerror=alert(3)>'
)
HOSTILE_NAME = "\"'><b-evil onclick=alert(1)><img src=x onerror=alert(2)>&amp;"
OTHER_KINDS = [None, True, -5, 10**400, [HOSTILE] * 3, {HOSTILE: HOSTILE}, [[HOSTILE]], float("nan"), ""]
JSON_FILES = ("summary.json", "progress.json", "provenance.json", "validation.json", "evaluation.json",
              "symmetry.json")  # fmt: skip


def spoiled(value: Any, by: Any) -> Any:
    """Return the same structure with every leaf replaced."""
    if isinstance(value, dict):
        return {name: spoiled(part, by) for name, part in value.items()}
    if isinstance(value, list):
        return [spoiled(part, by) for part in value]
    return by


def spoil(run: Path, by: Any) -> None:
    """Replace every value of every small file of a run."""
    for name in JSON_FILES:
        found = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps(spoiled(found, by)))
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({name: deepcopy(by) for name in [*settings, HOSTILE]}))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (run / "metrics.jsonl").write_text("".join(json.dumps(spoiled(row, by)) + "\n" for row in rows))


@pytest.fixture
def run(tmp_path) -> Path:
    """Return a finished run that has every file, few maps, and a folder whose name is markup."""
    classes = [{"folder": "class1", "n_particles": 5, "share": 0.5, "resolution_half_0143": 5.0, "verdict": "x"}]
    branching = [{"classes": 1.0, "log_likelihood": 2.0, "gain": 1.0, "error": 0.1, "maps": 2.0}]
    folder = make_run(tmp_path / HOSTILE_NAME, classes=classes, branching=branching)
    for path in folder.glob("*.mrc"):
        if path.name != "map.mrc":
            path.unlink()
    curve = {"resolution_05": 5.0, "correlation": [1.0, 0.8, 0.2]}
    evaluation = {
        "fsc": {"frequency": [0.0, 0.05, 0.1], "masked": curve, "unmasked": curve},
        "map": {"hand": 1}, "poses": {"median": 1.0, "mean": 2.0, "share_within_5": 0.9, "share_within_10": 1.0},
        "shifts": {"rms": 0.5}, "reference": HOSTILE, "true_poses": HOSTILE,
    }  # fmt: skip
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    provenance = {"command": HOSTILE, "resmfn": HOSTILE, "started": HOSTILE, HOSTILE: HOSTILE}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    bands = [{"resolution": 10.0, "halves": 0.9, "copies": 0.9, "worst": 0.8, "random": 0.1}]
    found = {"name": "C2", "frame": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], "bands": bands}
    symmetry = {"group": found, "pseudo": found | {"resolution": 12.0}, "is_decidable": True, "limit": 6.0}
    (folder / "symmetry.json").write_text(json.dumps(symmetry))
    return folder


def test_hostile_text_in_every_field_stays_text(run) -> None:
    spoil(run, HOSTILE)
    (run / "run.log").write_text(HOSTILE)
    (run / HOSTILE_NAME).write_text("")
    header, *rows = (run / "fsc_directional.csv").read_text().splitlines()
    (run / "fsc_directional.csv").write_text("\n".join([f"{header},{HOSTILE}", *rows]))
    header, *rows = (run / "fsc.csv").read_text().splitlines()
    (run / "fsc.csv").write_text("\n".join([f"{header},x{HOSTILE}", *(f"{row},0" for row in rows)]))
    page = build_page(read_run(run))
    seen = require_harmless(page)
    escaped = html.escape(HOSTILE)
    for place in ("Command", "Settings", "Made with", "The last lines of run.log", "true map", 'class="sub">'):
        assert escaped in page[page.index(place) :], place
    assert seen.text.count(HOSTILE) > 10
    assert f"Run {HOSTILE_NAME}" in seen.text
    files = page[page.index('<section id="files"') : page.index('<section id="settings"')]
    assert html.escape(HOSTILE_NAME) in files


@pytest.mark.parametrize("by", OTHER_KINDS, ids=[str(i) for i in range(len(OTHER_KINDS))])
def test_a_field_of_any_kind_gives_a_page_or_one_line(run, by) -> None:
    spoil(run, by)
    require_harmless(build_page(read_run(run)))


def test_a_run_that_goes_on_and_says_hostile_things_stays_harmless(run) -> None:
    spoil(run, HOSTILE)
    (run / "summary.json").unlink()
    seen = require_harmless(build_page(read_run(run), refresh=5))
    assert HOSTILE in seen.text


def test_hostile_cells_of_the_star_file_stay_text(run) -> None:
    star = (run / "particles.star").read_text()
    hostile = re.sub(r"[^\w<>=\"']", "", HOSTILE)
    (run / "particles.star").write_text(re.sub(r"\d+@p.mrcs", lambda m: f"{m[0]}{hostile}", star))
    require_harmless(build_page(read_run(run)))


def test_names_of_fitted_fields_stay_text(tmp_path) -> None:
    fit = make_fit(tmp_path / "fit")
    (fit / "fields" / "photo <1>").rename(fit / "fields" / HOSTILE_NAME)
    (fit / "config.yaml").write_text(yaml.safe_dump({HOSTILE: HOSTILE}))
    rows = [{"name": HOSTILE_NAME, "epoch": 1, "test_psnr": [1.0]}, {"name": HOSTILE, "epoch": HOSTILE, "test_psnr": 1}]
    (fit / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen = require_harmless(build_page(read_run(fit)))
    assert seen.text.count(HOSTILE_NAME) >= 3


# --- files that unpack to more than they say ---------------------------------------------------------


def test_settings_that_multiply_are_refused_in_one_line(run) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for k, name in enumerate("bcdefghij"):
        bomb += f"{name}: &{name} [{', '.join(['*' + 'abcdefghi'[k]] * 9)}]\n"
    (run / "config.yaml").write_text(bomb)
    with pytest.raises(InputError, match=r"config.yaml: cannot be read \(settings have no aliases\)"):
        read_run(run)


@pytest.mark.parametrize(
    "text",
    ["!!timestamp x", "!!bool x", "!!int ''", "[" * 1000, "\x00", "? [a]\n: b", "a: !!python/object:os.system x"],
)
def test_settings_that_break_the_parser_are_refused_in_one_line(run, text) -> None:
    (run / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config.yaml: cannot be read \([^\n]*\); restore it"):
        read_run(run)


def test_json_that_is_too_deep_is_refused_in_one_line(run) -> None:
    (run / "summary.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match=r"summary.json: not JSON \([^\n]*\); remove it"):
        read_run(run)


def test_an_archive_that_unpacks_to_more_than_memory_holds_is_refused_unread(run, monkeypatch) -> None:
    monkeypatch.setattr(arrays, "MOST_BYTES", 2**20)
    np.savez_compressed(run / "examples.npz", particle=np.zeros((4, 512, 512)))
    assert (run / "examples.npz").stat().st_size < 2**15
    with pytest.raises(
        InputError,
        match=r"examples.npz does not hold examples of particles \([^\n]*unpacks to 8 MiB[^\n]*\); remove it",
    ):
        read_run(run)


def test_an_archive_whose_header_lies_is_refused_in_one_line(run) -> None:
    stored = io.BytesIO()
    np.lib.format.write_array_header_1_0(stored, {"descr": "<f8", "fortran_order": False, "shape": (10**13,)})
    with zipfile.ZipFile(run / "examples.npz", "w") as archive:
        archive.writestr("particle.npy", stored.getvalue())
    with pytest.raises(InputError, match=r"examples.npz does not hold examples of particles \([^\n]*\); remove it"):
        read_run(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"particle": np.zeros((3, 4))}, "no pairs of pictures"),
        ({"row": np.array(["a", "b", "c"])}, "row must hold numbers"),
        ({"reprojection": np.full((3, 12, 12), np.nan)}, "not finite"),
        ({"resolution": np.zeros(2)}, "resolution must be one number"),
    ],
)
def test_examples_of_another_shape_are_refused_in_one_line(run, change, message) -> None:
    with np.load(run / "examples.npz") as stored:
        whole = dict(stored)
    np.savez(run / "examples.npz", **(whole | change))
    with pytest.raises(InputError, match=message):
        read_run(run)


def test_text_that_is_too_long_is_refused_in_one_line(run, monkeypatch) -> None:
    monkeypatch.setattr(inputs, "MOST_BYTES", 10)
    with pytest.raises(InputError, match="is too long for a text file of a run"):
        read_run(run)


# --- how pages are built -----------------------------------------------------------------------------


def test_elements_escape_their_text_and_their_attributes() -> None:
    made = element("p", "<b>", element("i", "x & y"), None, [1, "<"], class_='a"b', data_x=2, hidden=True, id=None)
    assert made.html == '<p class="a&quot;b" data-x="2" hidden>&lt;b&gt;<i>x &amp; y</i>1&lt;</p>'
    assert joined("<", Markup("<br>")).html == "&lt;<br>"
    assert element("img", src="data:,", alt="").html == '<img src="data:," alt="">'


def test_addresses_lead_nowhere_else() -> None:
    for address in ("http://evil.example/", "javascript:alert(1)", "//evil.example", " data:,"):
        with pytest.raises(ValueError, match="must lie in the page"):
            element("a", "x", href=address)


def test_code_cannot_end_its_element_and_nothing_else_is_code() -> None:
    assert own_code("script", "a = '</ScRipt>';").html == "<script>a = '<\\/ScRipt>';</script>"
    with pytest.raises(ValueError, match="only scripts and styles"):
        own_code("p", "x")
    with pytest.raises(ValueError, match="holds nothing"):
        element("br", "x")


def test_markup_is_no_string_so_it_cannot_be_pasted() -> None:
    assert not isinstance(element("p"), str)
    with pytest.raises(TypeError):
        "<p>" + element("p")


TAG = re.compile(r"</?(?![fiuU][0-9])[a-zA-Z!]")  # "<f4" is a type of numbers


def tags_in_strings(source: str) -> list[str]:
    """Return string literals, docstrings aside, in which a tag is written."""
    tree = ast.parse(source)
    said = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    texts = [
        n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in said
    ]
    return [f"{node.lineno}: {node.value[:60]}" for node in texts if TAG.search(node.value)]


def test_only_the_builder_writes_tags() -> None:
    assert tags_in_strings("x = f'<p>{y}</p>'") != []
    assert tags_in_strings("def f():\n    '''Return <p>.'''") == []
    root = Path(resmfn.reports.__file__).parent
    found = {str(path.relative_to(root)): tags_in_strings(path.read_text()) for path in sorted(root.rglob("*.py"))}
    assert [name for name, places in found.items() if places] == ["html/elements.py"]
