"""What the site needs beyond its pages: tutorials from notebooks, pages from the repository's root, the commands' help.

Links are written for the repository, where people read pages as files; here they are turned to where the site has the
same thing. A link to what the site has not (a script, a result file) becomes plain text.
"""

import base64
import json
import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from resmfn.cli.main import COMMANDS, build_app

REPOSITORY = Path(__file__).resolve().parents[2]
ROOT_PAGES = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages of docs/ that the navigation does not name to its Reference."""
    named = re.findall(r"[\w/-]+\.md", json.dumps(config.nav))
    reference = next(section["Reference"] for section in config.nav if "Reference" in section)
    reference += sorted(p.name for p in Path(config.docs_dir).glob("*.md") if p.name not in named)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no Markdown files of docs/."""
    for source, page in ROOT_PAGES.items():
        if (REPOSITORY / source).exists():
            files.append(File.generated(config, page, abs_src_path=str(REPOSITORY / source)))
    for path in sorted((REPOSITORY / "docs" / "tutorials").glob("*.ipynb")):
        text, pictures = notebook_page(json.loads(path.read_text()), path.stem)
        files.append(File.generated(config, f"tutorials/{path.stem}.md", content=text))
        for name, png in pictures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=png))
    files.append(File.generated(config, "commands.md", content=commands_page()))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Turn links for readers of the repository into links for readers of the site."""
    return relink(markdown, page.file.src_uri)


def relink(markdown: str, page: str) -> str:
    """Rewrite the links of a page, ``page`` being its place in the site.

    Images and links to pages that are where the repository has them stay as they are.
    """
    here = posixpath.dirname(repository_path(page))

    def rewrite(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        if "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(here, target))
        found = site_path(path)
        if found is None:
            return text if (REPOSITORY / path).exists() else match[0]
        return f"[{text}]({posixpath.relpath(found, posixpath.dirname(page) or '.')}{anchor})"

    return _LINK.sub(rewrite, markdown)


def repository_path(page: str) -> str:
    """Return the file that a page of the site comes from, as a path in the repository."""
    for source, place in ROOT_PAGES.items():
        if page == place:
            return source
    notebook = f"docs/{page.removesuffix('.md')}.ipynb"
    return notebook if (REPOSITORY / notebook).exists() else f"docs/{page}"


def site_path(path: str) -> str | None:
    """Return where the site has a file of the repository, or None where it has not."""
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    if path == "README.md":
        return "index.md"
    if not path.startswith("docs/") or path.endswith(".py") or not (REPOSITORY / path).is_file():
        return None
    return path.removeprefix("docs/").replace(".ipynb", ".md")


def notebook_page(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """Return an executed notebook as Markdown, and its pictures by file name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                pictures[f"{name}-{len(pictures) + 1}.png"] = base64.b64decode(data["image/png"])
                parts.append(f"![{''.join(data['text/plain'])}]({list(pictures)[-1]})")
            else:
                shown = "".join(output.get("text", data.get("text/plain", [])))
                parts.append(f"```text\n{shown.rstrip()}\n```")
    title, *rest = parts
    file = f'<a href="{name}.ipynb" download><code>{name}.ipynb</code></a>'
    note = f"*An executed notebook: {file}. Its source is `docs/tutorials/{name}.py`.*"
    head, _, body = title.partition("\n")
    return "\n\n".join([head, note, body.strip(), *rest]) + "\n", pictures


def commands_page() -> str:
    """Return the help of every command, as the command itself gives it."""
    width, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "100"
    try:
        parts = [
            "# Commands",
            "What `resmfn COMMAND --help` says, for every command. Errors are one line and exit code 2.",
        ]
        for name in COMMANDS:
            parts += [f"## {name}", f"```text\n{command_help(name)}\n```"]
    finally:
        os.environ.pop("COLUMNS") if width is None else os.environ.update(COLUMNS=width)
    return "\n\n".join(parts) + "\n"


def command_help(name: str) -> str:
    """Return what ``resmfn NAME --help`` prints, without color."""
    from rich.console import Console

    console = Console(width=100, color_system=None, force_terminal=False, file=open(os.devnull, "w"), record=True)  # noqa: SIM115, PTH123
    build_app().help_print([name], console=console)
    return "\n".join(line.rstrip() for line in console.export_text().strip("\n").splitlines())
