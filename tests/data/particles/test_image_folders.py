"""Names of image stacks: found as users' projects have them, and kept inside their folder."""

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
    with pytest.raises(InputError, match=r"row 5: .*b\.mrcs leads out of the folder .*Extract; .*--allow-outside"):
        find(project, name, datadir=project / "Extract")
    assert find(project, name, datadir=project / "Extract", allow_outside=True) == project.parent / "other/b.mrcs"


def test_leave_is_needed_whether_or_not_the_file_is_there(project):
    # Otherwise the message would tell whoever wrote the file what there is on this machine.
    with pytest.raises(InputError, match="leads out of the folder"):
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
