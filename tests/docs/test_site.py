"""The site builds without a warning, asks no other host for anything, and says what the package does."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
pytest.importorskip("mkdocs", reason="NOT TESTED: the site needs resmfn[docs]")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built site; the build is strict, so that a broken link or anchor fails it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_is_built(site):
    assert "residual multiplicative filter network" in (site / "index.html").read_text()


def test_nothing_is_fetched_from_another_host(site):
    fetched = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*>|<link\b[^>]*>")
    for page in site.rglob("*.html"):
        for tag in fetched.findall(page.read_text()):
            foreign = re.search(r"(?:href|src)=[\"']?(?:https?:)?//", tag)
            assert not foreign or 'rel="canonical"' in tag, f"{page.name}: {tag}"


def test_every_page_is_in_the_navigation(site):
    home = (site / "index.html").read_text()
    pages = {page.relative_to(site).as_posix() for page in site.rglob("*.html")} - {"404.html"}
    assert sorted(page for page in pages if f'href="{page}"' not in home) == []


def test_the_reference_has_every_public_name(site):
    import resmfn

    reference = "".join(page.read_text() for page in (site / "api").glob("*.html"))
    missing = [
        n for n in resmfn.__all__ if not n.startswith("__") and not re.search(rf'id="resmfn[\w.]*\.{n}"', reference)
    ]
    assert missing == []


def test_notebooks_become_pages_with_their_pictures(site):
    for path in (REPOSITORY / "docs" / "tutorials").glob("*.ipynb"):
        outputs = [o for cell in json.loads(path.read_text())["cells"] for o in cell.get("outputs", [])]
        n_pictures = sum("image/png" in o.get("data", {}) for o in outputs)
        assert len(list((site / "tutorials").glob(f"{path.stem}-*.png"))) == n_pictures
        assert (site / "tutorials" / f"{path.stem}.html").read_text().count(f'src="{path.stem}-') == n_pictures
