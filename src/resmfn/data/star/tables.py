"""STAR files: tables of text, kept as they came.

A cell is the text that stands in the file, quotes included, so that what is read and written again is unchanged; what
the text means is decided where it is used. One block holds one table: a loop, or a list of name and value. Written by
hand and not on a CIF parser: RELION's files hold cells (``data_1.mrc``) that are not CIF, a bad row can be named by its
line, and it is as fast (100,000 rows of 12 columns: 0.2 s).

Format: Hall, "The STAR file", J. Chem. Inf. Comput. Sci. 31 (1991), 326, as RELION uses it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from resmfn.core import InputError, atomic_write

_TOKEN = re.compile(r"""'(?:[^']|'(?=\S))*'(?=\s|$)|"(?:[^"]|"(?=\S))*"(?=\s|$)|\S+""")
_NEEDS_QUOTES = re.compile(r"""\s|^['"#_;]|^(data|loop|save|stop|global)_""")
_VERSION = re.compile(r"#\s*version\s+(\d+)")
PARTICLE_COLUMN = "rlnImageName"
_ROWS_AT_ONCE = 2000  # cells of so many rows stand in memory twice

Column = Sequence[str] | Sequence[float] | Sequence[int] | Tensor | np.ndarray


@dataclass(frozen=True)
class Table:
    """One block of a STAR file: named columns of text cells, in the order of the file."""

    columns: dict[str, list[str]] = field(default_factory=dict)  #: name without underscore -> cells
    is_loop: bool = True  #: False for a list of name and value (one row)
    version: str | None = None  #: RELION's format version, from the comment above the block

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def __contains__(self, column: object) -> bool:
        return column in self.columns

    def __getitem__(self, column: str) -> list[str]:
        return self.columns[column]

    def text(self, column: str) -> list[str]:
        """Return the cells of a column without the quotes around them."""
        return [unquote(cell) for cell in self.columns[column]]

    def select(self, rows: Sequence[int]) -> Table:
        """Return a table of some rows, in this order."""
        return replace(self, columns={name: [cells[row] for row in rows] for name, cells in self.columns.items()})

    def with_columns(self, columns: Mapping[str, Sequence[str]]) -> Table:
        """Return a table with these columns replaced where they stand, or appended where they are new."""
        for name, cells in columns.items():
            if self.columns and len(cells) != len(self):
                raise InputError(f"column {name} needs one cell for each of {len(self)} rows, got {len(cells)}")
        return replace(self, columns={**self.columns, **{name: list(cells) for name, cells in columns.items()}})


def unquote(cell: str) -> str:
    """Return the text of a cell without the quotes around it."""
    return cell[1:-1] if len(cell) >= 2 and cell[0] == cell[-1] and cell[0] in "'\"" else cell


def quote(text: str) -> str:
    """Return a cell that holds this text: quoted only where it must be."""
    if text and not _NEEDS_QUOTES.search(text):
        return text
    mark = "'" if '"' in text else '"'
    if mark in text or len(text.splitlines()) > 1:
        raise InputError(
            f"the text {text!r} cannot be written to a STAR file: it has both kinds of quotes, or a line break"
        )
    return f"{mark}{text}{mark}"


def format_cells(values: Column) -> list[str]:
    """Return values as cells: numbers with 6 decimals, integers without, text quoted where it must be."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    listed: list[Any] = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if listed and isinstance(listed[0], str):
        return [quote(value) for value in listed]
    if any(isinstance(value, float) for value in listed):
        return [f"{value:.6f}" for value in listed]
    return [str(int(value)) for value in listed]


def read_star(path: str | os.PathLike[str]) -> dict[str, Table]:
    """Read every block of a STAR file.

    Returns
    -------
    dict
        Block name without ``data_`` (it may be empty) -> its table, in the order of the file.

    Raises
    ------
    InputError
        The file is missing or malformed; the message names the line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the name") from error
    lines = text.removeprefix("\ufeff").split("\n")
    del text  # of a large file, a second copy counts
    starts = _block_starts(lines)
    if not starts:
        raise InputError(f"{path}: not a STAR file: no line begins with data_")
    tables: dict[str, Table] = {}
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        name = lines[start].split()[0][len("data_") :]
        if name in tables:
            raise InputError(f"{path}: line {start + 1}: the block data_{name} appears twice; rename one")
        tables[name] = _read_block(_Block(path, lines, start + 1, end), _version_above(lines, start))
    return tables


def _block_starts(lines: Sequence[str]) -> list[int]:
    """Return the numbers of the lines that name a block: one word beginning with data_, in either case.

    A row of a loop may begin so too, so a line that is not plainly a block's name, because it is indented or goes on,
    is taken for one only where a loop or a name follows.
    """
    found = []
    for i, line in enumerate(lines):
        if "data_" not in line[:80].lower() or not (words := line.split()) or not words[0].lower().startswith("data_"):
            continue
        plain = len(words) == 1 and line[:1] in "dD"
        comment_or_alone = len(words) == 1 or words[1].startswith("#")
        if plain or (comment_or_alone and _names_follow(lines, i + 1)):
            found.append(i)
    return found


def _names_follow(lines: Sequence[str], start: int) -> bool:
    """Tell whether the next line that says something begins a loop or a list of names and values."""
    for line in lines[start:]:
        word = line.strip()
        if word and not word.startswith("#"):
            return word.lower().startswith(("loop_", "_"))
    return False


def _version_above(lines: Sequence[str], start: int) -> str | None:
    """Return the version that the comment lines directly above a block name."""
    for line in reversed(lines[:start]):
        if found := _VERSION.match(line):
            return found[1]
        if line.strip() and not line.startswith("#"):
            return None
    return None


@dataclass
class _Block:
    """The lines of one block and how far they have been read."""

    path: Path
    lines: Sequence[str]
    position: int
    end: int

    def peek(self) -> str | None:
        """Return the next line that says something, or None at the end of the block."""
        while self.position < self.end:
            line = self.lines[self.position].strip()
            if line and not line.startswith("#"):
                return line
            self.position += 1
        return None

    def error(self, message: str, line: int | None = None) -> InputError:
        """Return an error that names the file and the line."""
        return InputError(f"{self.path}: line {(self.position if line is None else line) + 1}: {message}")


def _read_block(block: _Block, version: str | None) -> Table:
    line = block.peek()
    if line is None:
        return Table({}, is_loop=False, version=version)
    if line.split()[0].lower() == "loop_":
        block.position += 1
        return Table(_read_loop(block), version=version)
    return Table(_read_pairs(block), is_loop=False, version=version)


def _read_pairs(block: _Block) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    while (line := block.peek()) is not None:
        cells = _split(line)
        if cells[0].lower() == "loop_":
            raise block.error(
                "a loop after a list of names and values: this block holds several tables, as mmCIF files do; "
                "RELION's hold one"
            )
        if not line.startswith("_") or len(cells) != 2:
            raise block.error(f"expected a name beginning with _ and one value, got {line[:60]!r}")
        _add_column(block, columns, cells[0], [cells[1]])
        block.position += 1
    return columns


def _read_loop(block: _Block) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    while (line := block.peek()) is not None and line.startswith("_"):
        _add_column(block, names, line.split()[0], [])
        block.position += 1
    if not names:
        raise block.error("a loop_ must be followed by column names that begin with _")
    start = block.position
    rows = block.lines[start : block.end]
    if any("#" in row and row.lstrip().startswith("#") for row in rows):
        rows = ["" if row.lstrip().startswith("#") else row for row in rows]
    columns: list[list[str]] = [[] for _ in names]
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[first : first + _ROWS_AT_ONCE]
        quoted = any('"' in row or "'" in row for row in part)
        split = _split if quoted else str.split
        cells: list[str] = []
        for i, row in enumerate(part, start=start + first):
            found = split(row)
            if len(found) not in (0, len(names)):
                raise block.error(f"this row has {len(found)} cells, but the table has {len(names)} columns", i)
            cells += found
        for i, column in enumerate(columns):
            column += cells[i :: len(names)]
    return dict(zip(names, columns, strict=True))


def _add_column(block: _Block, columns: dict[str, list[str]], name: str, cells: list[str]) -> None:
    if name[1:] in columns:
        raise block.error(f"the column {name} appears twice; remove one")
    columns[name[1:]] = cells


def _split(line: str) -> list[str]:
    """Split a line at white space, but not inside quotes; quotes stay."""
    return _TOKEN.findall(line)


def write_star(path: str | os.PathLike[str], tables: Mapping[str, Table]) -> None:
    """Write a STAR file in one step; the particle table goes last, as RELION's tools and people expect it.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    tables
        Block name without ``data_`` -> its table.
    """
    ordered = sorted(tables.items(), key=lambda item: PARTICLE_COLUMN in item[1])
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogateescape") as file:
        for name, table in ordered:
            file.writelines(_format_block(name, table))


def _format_block(name: str, table: Table) -> Iterable[str]:
    yield "\n"
    if table.version is not None:
        yield f"# version {table.version}\n\n"
    yield f"data_{name}\n\n"
    if not table.is_loop:
        width = max(map(len, table.columns), default=0) + 4
        yield from (f"_{column:<{width}} {cells[0]}\n" for column, cells in table.columns.items())
    elif table.columns:
        yield "loop_\n"
        yield from (f"_{column} #{number}\n" for number, column in enumerate(table.columns, start=1))
        yield from (f"{row}\n" for row in map(" ".join, zip(*table.columns.values(), strict=True)))
    yield "\n"
