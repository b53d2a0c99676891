"""RELION's pipeliner runs resmfn and then its own programs on what resmfn leaves."""

import time
from pathlib import Path

import pytest

from reconstruction.relion_project import FAST, PARTICLES, N, add_job, add_resmfn, make_project, schedule
from resmfn.cli.main import main
from resmfn.data import read_map, read_particles, read_star
from resmfn.data.star.pipeline_nodes import HALF_MAP, OUTPUT_NODES, write_output_nodes
from resmfn.data.star.pipeline_nodes import PARTICLES as PARTICLES_NODE

EXITS = ("RELION_JOB_EXIT_SUCCESS", "RELION_JOB_EXIT_FAILURE", "RELION_JOB_EXIT_ABORTED")


def exits(job: Path) -> list[str]:
    return [name for name in EXITS if (job / name).exists()]


# --- with RELION ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project: resmfn aborted half way, then continued, then relion_postprocess on its half maps."""
    project = make_project(tmp_path_factory.mktemp("project"))
    job = project / "External/job002"
    add_resmfn(project, FAST)
    add_job(project, "PostProcess", fn_in="External/job002/run/half1_unfil.mrc", fn_mask="External/job002/run/mask.mrc")
    first = schedule(project, "first", "External/job002/")
    deadline = time.monotonic() + 240
    while not (job / "run/checkpoint.pt").exists() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    (job / "RELION_JOB_ABORT_NOW").touch()
    first.communicate(timeout=240)
    (project / "aborted").write_text(" ".join(exits(job)) + (job / "run.err").read_text())
    second = schedule(project, "second", "External/job002/", "PostProcess/job003/")
    said, _ = second.communicate(timeout=480)
    assert second.returncode == 0, said + (job / "run.err").read_text()
    return project


@pytest.mark.relion
def test_the_pipeliner_stops_a_job_and_continues_it(chain) -> None:
    job = chain / "External/job002"
    assert "RELION_JOB_EXIT_ABORTED" in (chain / "aborted").read_text()
    assert exits(job) == ["RELION_JOB_EXIT_SUCCESS"]
    assert not (job / "RELION_JOB_ABORT_NOW").exists()
    assert "resume: from phase" in (job / "run/run.log").read_text()
    assert "half maps agree to" in (job / "run.out").read_text()


@pytest.mark.relion
def test_the_pipeliner_finds_the_results(chain) -> None:
    tables = read_star(chain / "default_pipeline.star")
    names, kinds = (tables["pipeline_nodes"][f"rlnPipeLineNode{part}"] for part in ("Name", "Type"))
    kind_of = dict(zip(names, kinds, strict=True))
    ours = {name.removeprefix("External/job002/run/"): kind for name, kind in kind_of.items() if "External" in name}
    assert ours == {
        "particles.star": "3", "map_filtered.mrc": "6", "mask.mrc": "7", "half1_unfil.mrc": "10",
        "half2_unfil.mrc": "10", "map_sharpened.mrc": "11", "local_resolution.mrc": "12",
    }  # fmt: skip
    processes = tables["pipeline_processes"]
    assert processes["rlnPipeLineProcessStatus"] == ["2", "2"]  # finished, both


@pytest.mark.relion
def test_postprocess_ran_on_the_half_maps(chain) -> None:
    job = chain / "PostProcess/job003"
    assert exits(job) == ["RELION_JOB_EXIT_SUCCESS"]
    general = read_star(job / "postprocess.star")["general"]
    assert 6.0 <= float(general["rlnFinalResolution"][0]) < 9.0  # Nyquist is 6 Å
    assert read_map(job / "postprocess.mrc").box_size == read_map(chain / "External/job002/run/map.mrc").box_size


@pytest.mark.relion
def test_particles_keep_their_columns_and_start_from_the_project(chain, monkeypatch) -> None:
    monkeypatch.chdir(chain)
    before = read_particles(chain / PARTICLES)
    after = read_particles(chain / "External/job002/run/particles.star", datadir=chain)
    assert len(after) == N
    for name, cells in before.table.columns.items():
        assert after.table[name] == cells
    assert before.optics_table == after.optics_table
    assert all((chain / name.partition("@")[2]).is_file() for name in after.table["rlnImageName"])


# --- without RELION ------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project as the current folder, with the folder of a job."""
    folder = make_project(tmp_path / "project")
    (folder / "External/job002").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def run_job(*flags: str, job: str = "External/job002/") -> int:
    return main(["relion-job", "--o", job, *flags])


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (("--in_parts", "nothing.star", "--j", "1"), "nothing.star: does not exist"),
        (("--in_parts", PARTICLES, "--n-start", "1"), "--n-start"),
        (("--in_mics", "mics.star"), "in_mics"),
        (("--j", "1"), "--in_parts, the form's Input particles"),
        (("--in_parts", PARTICLES, "--j", "0"), "at least 1"),
        (("--in_parts", PARTICLES, "--mask", "a.mrc", "--in_mask", "b.mrc"), "--in_mask and --mask"),
        (("--in_parts", PARTICLES, "--in_3dref", "a.mrc", "--reference", "b.mrc"), "--in_3dref and --reference"),
        (("--in_parts", PARTICLES, "--strip-prefix", "Extract"), "--strip-prefix cannot be used in a RELION job"),
        (("--in_parts", PARTICLES, "--datadir", "."), "--datadir cannot be used in a RELION job"),
    ],
)
def test_whatever_fails_is_told_to_relion(project, capsys, flags, fault) -> None:
    job = project / "External/job002"
    (job / "RELION_JOB_EXIT_SUCCESS").touch()  # of an earlier run
    assert run_job(*flags) == 2
    assert fault in capsys.readouterr().err
    assert exits(job) == ["RELION_JOB_EXIT_FAILURE"]


def test_a_defect_is_told_to_relion(project, monkeypatch) -> None:
    monkeypatch.setattr("resmfn.reconstruction.relion_job.reconstruct", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_job("--in_parts", PARTICLES)
    assert exits(project / "External/job002") == ["RELION_JOB_EXIT_FAILURE"]


@pytest.mark.parametrize(
    ("found", "resolved", "code", "outcome"),
    [(True, True, 0, EXITS[0]), (True, False, 4, EXITS[0]), (False, False, 3, EXITS[1])],
)
def test_a_run_without_structure_has_failed_for_relion(project, monkeypatch, found, resolved, code, outcome) -> None:
    from resmfn.reconstruction import ReconstructionResult

    figures = {"resolution_half_0143": 9.0, "seconds": 1, "cpu_seconds": 1, "verdict": "so"}
    summary = figures | {"structure_found": found, "resolved": resolved}
    seen = []

    def finish(config, listener, *, stop):
        seen.append(config)
        return ReconstructionResult(config.out, summary)

    monkeypatch.setattr("resmfn.reconstruction.relion_job.reconstruct", finish)
    assert (
        run_job("--in_parts", PARTICLES, "--mask_diameter", "50", "--in_3dref", "a.mrc", "--flip-hand", "Yes") == code
    )
    assert exits(project / "External/job002") == [outcome]
    assert seen[0].mask_diameter == 50
    assert seen[0].flip_hand
    assert seen[0].resume
    assert seen[0].reference == Path("a.mrc")
    assert seen[0].datadir == project


def test_overwrite_starts_again(project, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr("resmfn.reconstruction.relion_job.reconstruct", lambda config, *_, **__: seen.append(config))
    with pytest.raises(AttributeError):  # the run has no result here
        run_job("--in_parts", PARTICLES, "--overwrite", "Yes")
    assert (seen[0].resume, seen[0].overwrite) == (False, True)


def test_an_abort_is_asked_for_between_two_steps(project, monkeypatch) -> None:
    from resmfn.core import StoppedError

    job = project / "External/job002"
    asked = []

    def wait(config, listener, *, stop):
        asked.append(stop())
        (job / "RELION_JOB_ABORT_NOW").touch()
        asked.append(stop())
        raise StoppedError("stopped")

    monkeypatch.setattr("resmfn.reconstruction.relion_job.reconstruct", wait)
    assert run_job("--in_parts", PARTICLES) == 130
    assert asked == [False, True]
    assert exits(job) == ["RELION_JOB_EXIT_ABORTED"]
    assert not (job / "RELION_JOB_ABORT_NOW").exists()


def test_help_leaves_nothing_behind(project, capsys) -> None:
    assert main(["relion-job", "--help"]) == 0
    assert "--in_parts" in capsys.readouterr().out
    assert exits(project / "External/job002") == []


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ("# version 30001\n\ndata_job\n\n_rlnJobType 99\n", "ParticlesData.star.relion"),
        ("# version 50001\n\ndata_job\n\n_rlnJobTypeLabel relion.external\n", "ParticleGroupMetadata.star.relion"),
        (None, "ParticleGroupMetadata.star.relion"),
    ],
)
def test_nodes_are_written_for_every_relion(tmp_path, settings, label) -> None:
    if settings is not None:
        (tmp_path / "job.star").write_text(settings)
    write_output_nodes(tmp_path, {"E/j/particles.star": PARTICLES_NODE, "E/j/half1.mrc": HALF_MAP})
    table = read_star(tmp_path / OUTPUT_NODES)["output_nodes"]
    assert table.columns == {
        "rlnPipeLineNodeName": ["E/j/particles.star", "E/j/half1.mrc"],
        "rlnPipeLineNodeType": ["3", "10"],
        "rlnPipeLineNodeTypeLabel": [label, "DensityMap.mrc.halfmap"],
    }
