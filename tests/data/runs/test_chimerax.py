"""view.cxc names files that exist, models that are open, and commands that ChimeraX has."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from resmfn.data import write_map
from resmfn.data.runs.chimerax import write_chimerax_view

MAPS = ("map", "map_sharpened", "local_resolution", "half1_unfil", "half2_unfil", "mask")
# https://www.rbvi.ucsf.edu/chimerax/docs/user/commands: each command that is used, and what may follow it.
GRAMMAR = {
    "close": r"session",
    "open": r"\S+\.mrc id \d+",
    "volume": r"#\d+ style surface step 1 (level|sdLevel) -?\d[\d.e+-]*",
    "rename": r"#\d+ '.*'",
    "hide": r"#\d+ models",
    "color": r"sample #\d+ map #\d+ palette [\d.]+,blue:[\d.]+,white:[\d.]+,red",
    "key": r"blue:[\d.]+ white:[\d.]+ red:[\d.]+ pos [\d.]+,[\d.]+ size [\d.]+,[\d.]+",
    "2dlabels": r"text '.*' xpos [\d.]+ ypos [\d.]+ size \d+",
    "tile": r"#1-\d+",
    "set": r"bgColor white",
    "lighting": r"soft",
    "view": r"",
}


def make_folder(folder: Path, *maps: str, contour: float | None = 0.25, local=(3.0, 5.0)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in maps:
        write_map(folder / f"{name}.mrc", torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(1)), 1.5)
    figures = {"contour_level": contour, "local_resolution": {"p05": local[0], "median": 4.0, "p95": local[1]}}
    (folder / "validation.json").write_text(json.dumps(figures))
    return folder


def parse(script: Path) -> list[list[str]]:
    """Return the words of each command, having checked files, models and grammar."""
    opened: set[str] = set()
    commands = []
    for line in script.read_text().splitlines():
        if line.startswith("#"):
            continue
        words = shlex.split(line)
        command = words[0]
        plain = line.partition(" ")[2].replace('"', "'")
        assert re.fullmatch(GRAMMAR[command], plain), line
        if command == "open":
            assert (script.parent / words[1]).is_file(), line
            opened.add(words[3])
        for model in re.findall(r"#(\d+)(?:-(\d+))?", line):
            assert set(filter(None, model)) <= opened, line
        commands.append(words)
    return commands


def files_of(commands: list[list[str]], word: str) -> list[str]:
    """Return the files of the models that a command is given."""
    file_of = {words[3]: words[1] for words in commands if words[0] == "open"}
    return [file_of[words[1].lstrip("#")] for words in commands if words[0] == word]


def test_a_run_is_shown_at_its_level_colored_by_local_resolution(tmp_path) -> None:
    commands = parse(write_chimerax_view(make_folder(tmp_path / "run", *MAPS)))
    assert ["volume", "#1", "style", "surface", "step", "1", "level", "0.25"] in commands
    assert ["color", "sample", "#1", "map", "#2", "palette", "3,blue:4,white:5,red"] in commands
    assert files_of(commands, "volume") == ["map_sharpened.mrc"]
    assert files_of(commands, "hide") == ["local_resolution.mrc", "half1_unfil.mrc", "half2_unfil.mrc", "mask.mrc"]


def test_classes_stand_side_by_side_with_one_color_key(tmp_path) -> None:
    run = make_folder(tmp_path / "run", *MAPS)
    for number, local in ((2, (4.0, 9.0)), (1, (3.0, 5.0)), (10, (3.5, 6.0))):
        make_folder(run / f"class{number}", *MAPS, contour=float(number), local=local)
    commands = parse(write_chimerax_view(run))
    assert files_of(commands, "volume") == [f"class{i}/map_sharpened.mrc" for i in (1, 2, 10)]
    assert {words[-1] for words in commands if words[0] == "color"} == {"3,blue:6,white:9,red"}
    assert ["tile", "#1-3"] in commands


def test_a_map_without_half_maps_is_shown_at_three_standard_deviations(tmp_path) -> None:
    commands = parse(write_chimerax_view(make_folder(tmp_path / "run", "map")))
    assert ["volume", "#1", "style", "surface", "step", "1", "sdLevel", "3"] in commands


def test_a_sharpened_map_that_is_noise_gives_way_to_the_filtered_one(tmp_path) -> None:
    commands = parse(write_chimerax_view(make_folder(tmp_path / "run", *MAPS, "map_filtered", contour=None)))
    assert files_of(commands, "volume") == ["map_filtered.mrc"]
    assert ["volume", "#1", "style", "surface", "step", "1", "sdLevel", "3"] in commands


@pytest.mark.parametrize("local", [(3.0, 3.0), (None, None)])
def test_one_resolution_everywhere_still_has_a_color_key(tmp_path, local) -> None:
    commands = parse(write_chimerax_view(make_folder(tmp_path / "run", *MAPS, local=local)))
    keys = [words for words in commands if words[0] == "key"]
    assert [words[1:4] for words in keys] == ([["blue:3.00", "white:3.05", "red:3.10"]] if local[0] else [])


def test_nothing_is_written_where_there_is_no_map(tmp_path) -> None:
    assert write_chimerax_view(make_folder(tmp_path / "run")) is None
    assert not (tmp_path / "run/view.cxc").exists()
