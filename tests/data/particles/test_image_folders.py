"""Names of image stacks: found as users' projects have them, and kept inside their folder."""

import os
from pathlib import Path

import pytest

from resmfn.core import InputError
from resmfn.data.particles.image_folders import ImageFolders


@pytest.fixture
def project(tmp_path):
    """Return a RELION project with a job's STAR file, and a stack beside the project."""
    for folder in ("project/Refine3D/job003", "project/Extract/job001", "other"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("project/Extract/job001/a.mrcs", "other/b.mrcs"):
        (tmp_path / name).touch()
    return tmp_path / "project"


def find(project, name, **options):
    return ImageFolders(source=project / "Refine3D/job003/run_data.star", **options).find(name, row=4)


def test_names_start_from_the_project_folder(project):
    assert find(project, "Extract/job001/a.mrcs") == project / "Extract/job001/a.mrcs"


def test_datadir_and_prefix(project):
    stack = project / "Extract/job001/a.mrcs"
    assert find(project, "job001/a.mrcs", datadir=project / "Extract") == stack
    assert find(project, "/home/x/run/job001/a.mrcs", datadir=project / "Extract", strip_prefix="/home/x/run") == stack
    assert find(project, "job001/a.mrcs", datadir=project / "Extract", strip_prefix="/elsewhere") == stack


@pytest.mark.parametrize("name", ["Extract/job001/a.mrc", ">Extract/job001/a.mrcs", ">Extract/job001/a.mrc"])
def test_suffixes_are_exchanged_and_cryosparcs_mark_taken_away(project, name):
    assert find(project, name) == project / "Extract/job001/a.mrcs"


def test_an_absolute_name_inside_the_folder_is_found(project):
    assert find(project, str(project / "Extract/job001/a.mrcs")) == project / "Extract/job001/a.mrcs"


@pytest.mark.parametrize("climbing", [True, False])
def test_names_that_lead_out_need_leave(project, climbing):
    name = "../../other/b.mrcs" if climbing else str(project.parent / "other/b.mrcs")
    with pytest.raises(InputError, match=r"row 5: .*b\.mrcs leaves the folder .*Extract; .*--allow-outside"):
        find(project, name, datadir=project / "Extract")
    assert find(project, name, datadir=project / "Extract", allow_outside=True) == project.parent / "other/b.mrcs"


def test_leave_is_needed_whether_or_not_the_file_is_there(project):
    # Otherwise the message would tell whoever wrote the file what there is on this machine.
    with pytest.raises(InputError, match="leaves the folder"):
        find(project, "/none/of/this.mrcs")


def test_links_are_followed(project):
    (project / "Extract/linked.mrcs").symlink_to(project.parent / "other/b.mrcs")
    assert find(project, "Extract/linked.mrcs") == project / "Extract/linked.mrcs"


def test_a_stack_that_lies_elsewhere_is_pointed_to(project):
    with pytest.raises(InputError, match=r"a\.mrcs is there: give --datadir \S*/project --strip-prefix run7/"):
        find(project, "run7/Extract/job001/a.mrcs", datadir=project)
    stack = find(project, "run7/Extract/job001/a.mrcs", datadir=project, strip_prefix="run7/")
    assert stack == project / "Extract/job001/a.mrcs"


def test_the_nearest_name_is_given(project):
    with pytest.raises(
        InputError, match=r"b\.mrcs is not in .*the nearest name in .*job001 is a\.mrcs; give --datadir"
    ):
        find(project, "Extract/job001/b.mrcs")


@pytest.mark.parametrize("name", ["a\0b.mrcs", "x" * 5000, ".", "..", "/", "a/../../../../../../b.mrcs"])
def test_names_that_no_file_can_have_are_refused(project, name):
    with pytest.raises(InputError, match="row 5"):
        find(project, name)


# --- where a file is called from, and what it is ------------------------------------------------------


@pytest.mark.parametrize("name", ["../../Extract/job001/a.mrcs", "Extract/../Extract/job001/a.mrcs"])
def test_names_that_climb_and_stay_in_the_project_are_found(project, name):
    assert find(project, name) == project / "Extract/job001/a.mrcs"


def test_a_path_with_dots_means_what_the_system_means(project, monkeypatch):
    (project / "work").mkdir()
    monkeypatch.chdir(project / "work")
    source = Path("../Refine3D/../Refine3D/job003/run_data.star")
    assert ImageFolders(source=source).find("Extract/job001/a.mrcs", 0) == project / "Extract/job001/a.mrcs"
    (project.parent / "far/away").mkdir(parents=True)
    (project.parent / "far/away/link").symlink_to(project / "Refine3D/job003")
    beyond = project.parent / "far/away/link/../job003/run_data.star"  # above the link's target, not above the link
    assert ImageFolders(source=beyond).find("Extract/job001/a.mrcs", 0) == project / "Extract/job001/a.mrcs"


def test_a_datadir_with_dots_is_a_folder_like_any_other(project, monkeypatch):
    (project / "work").mkdir()
    monkeypatch.chdir(project / "work")
    assert find(project, "job001/a.mrcs", datadir=Path("../Extract")) == project / "Extract/job001/a.mrcs"
    with pytest.raises(InputError, match="leaves the folder"):
        find(project, "../../other/b.mrcs", datadir=Path("../Extract"))


def test_a_star_file_that_is_a_link_has_the_images_of_its_target(project):
    (project / "Refine3D/job003/run_data.star").touch()
    link = project.parent / "other/p.star"
    link.symlink_to(project / "Refine3D/job003/run_data.star")
    found, start = ImageFolders(source=link).find_from("Extract/job001/a.mrcs", 0)
    assert (found, start) == (project / "Extract/job001/a.mrcs", project)
    assert ImageFolders(source=link).find("b.mrcs", 0) == project.parent / "other/b.mrcs"


def test_a_file_deep_in_the_current_folder_has_names_that_start_here(project, monkeypatch):
    deep = project / "External/job012/out/iter/final"
    deep.mkdir(parents=True)
    folders = {"source": deep / "run_data.star"}
    monkeypatch.chdir(project.parent / "other")
    with pytest.raises(InputError, match=r"a\.mrcs is there: give --datadir .*project$"):
        ImageFolders(**folders).find("Extract/job001/a.mrcs", 0)
    monkeypatch.chdir(project)
    assert ImageFolders(**folders).find("Extract/job001/a.mrcs", 0) == project / "Extract/job001/a.mrcs"


@pytest.mark.parametrize("name", ["Extract\\job001\\a.mrcs", "Extract/job001/a.mrcs:mrcs", "Extract/job001/a.mrc:mrcs"])
def test_names_as_other_programs_write_them(project, name):
    assert find(project, name) == project / "Extract/job001/a.mrcs"


def spoil_dead_link(project):
    (project / "Extract/x.mrcs").symlink_to(project / "gone.mrcs")


def spoil_loop(project):
    (project / "Extract/x.mrcs").symlink_to(project / "Extract/x.mrcs")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_dead_link, r"cannot be read: .*x\.mrcs is a link to .*gone\.mrcs, which does not exist"),
        (spoil_loop, r"cannot be read: .*x\.mrcs is a link to "),
        (lambda project: (project / "Extract/x.mrcs").mkdir(), r"cannot be read: .*x\.mrcs is a folder"),
        (lambda project: os.mkfifo(project / "Extract/x.mrcs"), r"cannot be read: .*x\.mrcs is not a regular file"),
        (
            lambda project: (project / "Extract/X.mrcs").touch(),
            r"there is X\.mrcs in .*: only upper and lower case differ",
        ),
    ],
)
def test_the_message_names_the_real_cause(project, spoil, message):
    spoil(project)
    with pytest.raises(InputError, match=message) as refused:
        find(project, "Extract/x.mrcs")
    assert "--datadir" not in str(refused.value)


def test_a_datadir_that_is_too_deep_is_said_to_be(project):
    with pytest.raises(InputError, match=r"a\.mrcs is there: give --datadir .*project$"):
        find(project, "Extract/job001/a.mrcs", datadir=project / "Extract/job001")
    with pytest.raises(InputError, match=r"--datadir .*nowhere is not a folder: correct it"):
        find(project, "Extract/job001/a.mrcs", datadir=project / "nowhere")
