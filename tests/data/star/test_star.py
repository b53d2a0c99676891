"""STAR files: cells as they came, rows that do not fit named by their line."""

import resource

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resmfn.core import InputError
from resmfn.data.star.tables import Table, format_cells, quote, read_star, unquote, write_star

TWO_BLOCKS = """
# version 30001

data_general

_rlnFinalResolution   4.0
_rlnMaskName   "my mask.mrc"

# version 30001

data_particles

loop_
_rlnImageName #1
_rlnDefocusU #2
# a remark between rows
000001@a.mrcs   10000.50
data_17.mrcs\t1.0e4

000003@'b.mrcs  -0
"""


@pytest.fixture
def two_blocks(tmp_path):
    (tmp_path / "x.star").write_text(TWO_BLOCKS)
    return tmp_path / "x.star"


def read_text(tmp_path, text):
    (tmp_path / "x.star").write_text(text)
    return read_star(tmp_path / "x.star")


def test_cells_are_the_text_of_the_file(two_blocks):
    tables = read_star(two_blocks)
    assert list(tables) == ["general", "particles"]
    assert tables["general"].columns == {"rlnFinalResolution": ["4.0"], "rlnMaskName": ['"my mask.mrc"']}
    assert not tables["general"].is_loop
    particles = tables["particles"]
    assert particles["rlnImageName"] == ["000001@a.mrcs", "data_17.mrcs", "000003@'b.mrcs"]
    assert particles["rlnDefocusU"] == ["10000.50", "1.0e4", "-0"]
    assert particles.version == "30001"
    assert len(particles) == 3


def test_text_is_without_quotes(two_blocks):
    assert read_star(two_blocks)["general"].text("rlnMaskName") == ["my mask.mrc"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_line_ends_of_other_systems_are_read(tmp_path, line_end):
    (tmp_path / "x.star").write_bytes(TWO_BLOCKS.replace("\n", line_end).encode())
    assert read_star(tmp_path / "x.star")["particles"]["rlnDefocusU"] == ["10000.50", "1.0e4", "-0"]


def test_bytes_that_are_not_utf8_survive(tmp_path):
    raw = b"\ndata_\n\nloop_\n_rlnMicrographName #1\n_rlnA #2\nm\xfchle.mrc 1\n"
    (tmp_path / "x.star").write_bytes(raw)
    write_star(tmp_path / "y.star", read_star(tmp_path / "x.star"))
    assert b"m\xfchle.mrc 1\n" in (tmp_path / "y.star").read_bytes()


def test_quoted_cells_keep_their_spaces(tmp_path):
    table = read_text(tmp_path, 'data_\nloop_\n_a\n_b\n_c\n\'x y\' "" "it\'s"\n5\' "a"b c" \'\n')[""]
    assert table.columns == {"a": ["'x y'", "5'"], "b": ['""', '"a"b c"'], "c": ['"it\'s"', "'"]}
    assert table.text("b") == ["", 'a"b c']
    assert read_text(tmp_path, "data_\nloop_\n_a\n_b\n'a'b c\n")[""].columns == {"a": ["'a'b"], "b": ["c"]}


def test_particle_table_is_written_last(tmp_path):
    particles, optics = Table({"rlnImageName": ["1@a"]}), Table({"rlnOpticsGroup": ["1"]})
    write_star(tmp_path / "x.star", {"particles": particles, "optics": optics, "extra": optics})
    assert list(read_star(tmp_path / "x.star")) == ["optics", "extra", "particles"]


def test_empty_loops_and_blocks_are_read_and_written(tmp_path):
    tables = read_text(tmp_path, "data_a\nloop_\n_x #1\n_y #2\n\ndata_b\n")
    assert {name: len(table) for name, table in tables.items()} == {"a": 0, "b": 0}
    write_star(tmp_path / "y.star", tables)
    assert read_star(tmp_path / "y.star") == tables


cells = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=12).filter(
    lambda text: not ("'" in text and '"' in text)
)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6), st.booleans())
def test_any_text_survives_quoting_writing_and_reading(tmp_path_factory, rows, as_pairs):
    path = tmp_path_factory.mktemp("star") / "x.star"
    rows = rows[:1] if as_pairs else rows
    columns = {name: [quote(row[i]) for row in rows] for i, name in enumerate(("first", "second"))}
    write_star(path, {"": Table(columns, is_loop=not as_pairs)})
    read = read_star(path)[""]
    assert read.columns == columns
    assert [read.text("first"), read.text("second")] == [[row[0] for row in rows], [row[1] for row in rows]]


def test_only_what_needs_quotes_is_quoted():
    assert [quote(text) for text in ("a", "a b", "", "_a", "data_x", "5'")] == [
        "a",
        '"a b"',
        '""',
        '"_a"',
        '"data_x"',
        "5'",
    ]
    assert unquote('"a"') == "a"
    assert unquote('"') == '"'


@pytest.mark.parametrize("text", ["'a' \"b", "two\nlines"])
def test_text_that_star_cannot_hold_is_named(text):
    with pytest.raises(InputError, match="cannot be written to a STAR file"):
        quote(text)


def test_numbers_become_text_of_their_kind():
    assert format_cells(torch.tensor([1.0, -0.25])) == ["1.000000", "-0.250000"]
    assert format_cells(np.array([1, 2])) == ["1", "2"]
    assert format_cells([1, 2.5]) == ["1.000000", "2.500000"]
    assert format_cells(["a b", "c"]) == ['"a b"', "c"]


def test_columns_are_replaced_in_place_or_appended():
    table = Table({"a": ["1", "2"], "b": ["3", "4"]}).with_columns({"a": ["5", "6"], "c": ["7", "8"]})
    assert table.columns == {"a": ["5", "6"], "b": ["3", "4"], "c": ["7", "8"]}
    assert list(table.columns) == ["a", "b", "c"]
    with pytest.raises(InputError, match="column d needs one cell for each of 2 rows, got 1"):
        table.with_columns({"d": ["1"]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a STAR file: no line begins with data_"),
        ("data_a\nloop_\n_x #1\n_y #2\n1 2\n3\n", r"line 6: this row has 1 cells, but the table has 2 columns"),
        ("data_a\nloop_\n_x #1\n_y #2\n1 2\n'3 4' 5 6\n", r"line 6: this row has 3 cells, but the table has 2 columns"),
        ("data_a\nloop_\n_x #1\n_x #2\n", r"line 4: the column _x appears twice"),
        ("data_a\nloop_\n1 2\n", r"line 3: a loop_ must be followed by column names"),
        ("data_a\n_x 1\n\nloop_\n_y\n1\n", r"line 4: a loop after a list of names and values: .* mmCIF"),
        ("data_a\n_x 1\n\ndata_a\n_y 1\n", r"line 4: the block data_a appears twice"),
    ],
)
def test_malformed_files_are_named_by_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_text(tmp_path, text)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.star: cannot be read \(No such file or directory\); check the name"):
        read_star(tmp_path / "none.star")


def test_full_disk_is_one_line_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.star"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*x\.star: File too large"):
            write_star(path, {"": Table({"a": ["1"] * 10_000})})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == ["x.star"]
    assert path.read_text() == "old"


@pytest.mark.shared
def test_files_of_other_programs_are_read_as_a_cif_parser_reads_them(shared, tmp_path):
    """gemmi's parser is the oracle; what we read and write must be the same to both."""
    from gemmi import cif

    refused = {"aspire_sample.star", "sfftk_test_data3.star"}  # rows of different lengths; pairs and loops in one block
    not_cif = {"relion_refine3d_job.star"}
    files = [path for path in sorted((shared / "corpus" / "star").glob("*.star")) if path.name not in refused]
    assert len(files) > 60
    for path in files:
        tables = read_star(path)
        write_star(tmp_path / "again.star", tables)
        assert read_star(tmp_path / "again.star") == {k: tables[k] for k in read_star(tmp_path / "again.star")}, path
        if path.name in not_cif:
            continue
        for block, table in zip(cif.read(str(path)), tables.values(), strict=True):
            for name, column in table.columns.items():
                found = list(block.find_loop(f"_{name}")) if table.is_loop else [block.find_value(f"_{name}")]
                assert found == column, (path, name)
    for name in refused:
        with pytest.raises(InputError, match=f"{name}: line"):
            read_star(shared / "corpus" / "star" / name)


def test_a_text_is_quoted_by_the_mark_that_it_does_not_hold() -> None:
    for text in ('a "b" c', "a 'b' c", "a b"):
        assert unquote(quote(text)) == text
    assert quote('a "b" c') == "'a \"b\" c'"
