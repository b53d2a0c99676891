"""Links between pages of the repository, turned to where the site has them."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="NOT TESTED: the site needs resmfn[docs]")
HOOKS = Path(__file__).resolve().parents[2] / "docs" / "tools" / "hooks.py"


@pytest.fixture(scope="module")
def relink():
    """Return the function that rewrites a page's links."""
    spec = importlib.util.spec_from_file_location("hooks", HOOKS)
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    return hooks.relink


@pytest.mark.parametrize(
    ("page", "written", "on_the_site"),
    [
        ("evaluation.md", "[a](run-folder.md#x)", "[a](run-folder.md#x)"),
        ("architecture.md", "[a](docs/conventions.md)", "[a](conventions.md)"),
        ("quickstart.md", "[a](tutorials/fit-image.ipynb)", "[a](tutorials/fit-image.md)"),
        ("tutorials/fit-image.md", "[a](../quickstart.md)", "[a](../quickstart.md)"),
        ("concepts/fsc-and-half-maps.md", "[a](../../ARCHITECTURE.md#b)", "[a](../architecture.md#b)"),
        ("benchmarks.md", "[a](../docs/conventions.md)", "[a](conventions.md)"),
        ("evaluation.md", "[a script](../benchmarks/compare.py)", "a script"),
        ("evaluation.md", "[a](no-such-page.md)", "[a](no-such-page.md)"),
        ("evaluation.md", "[a](https://example.org/x.md)", "[a](https://example.org/x.md)"),
        ("evaluation.md", "![a](images/demo.png)", "![a](images/demo.png)"),
        ("evaluation.md", "results[name](value)", "results[name](value)"),
    ],
)
def test_links_lead_to_the_same_thing(relink, page, written, on_the_site):
    assert relink(written, page) == on_the_site
