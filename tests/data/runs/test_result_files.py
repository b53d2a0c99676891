"""What is said of a run's files is not said of others that have taken their place."""

import json
from pathlib import Path

import pytest

from resmfn.core import InputError
from resmfn.data.runs.result_files import RECORD, RESULTS, recorded_results, require_own_results
from resmfn.data.runs.run_folder import RunFolder
from resmfn.reconstruction.config import ReconstructionConfig
from resmfn.reports.inputs import find_run
from resmfn.reports.postprocess import postprocess
from resmfn.reports.run_record import read_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run folder whose results are recorded, and what came after them."""
    out = tmp_path / "run"
    finish(out, "first")
    for name in ("evaluation.json", "report.html", "notes.txt", "postprocess/fsc.csv"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("{}")
    return out


def finish(out: Path, text: str, **settings: object) -> None:
    """Write results of some content."""
    with RunFolder(ReconstructionConfig(particles="p.star", out=out, **settings)) as folder:
        folder.begin()
        folder.save({"phase": "done"})
        with recorded_results(folder):
            assert not (out / RECORD).exists()
            for name in RESULTS:
                (out / name).write_text(f"{text} {name}")


def test_a_runs_own_results_are_taken(run) -> None:
    require_own_results(run)
    assert set(json.loads((run / RECORD).read_text())) == set(RESULTS)
    assert find_run(run).map == run / "map.mrc"


@pytest.mark.parametrize("name", RESULTS)
def test_another_file_in_the_place_of_a_result_is_refused(run, name) -> None:
    (run / name).write_text("of another run")
    with pytest.raises(InputError, match=rf"{name} is not the file that this run wrote"):
        require_own_results(run)
    with pytest.raises(InputError, match=rf"{name} is not the file"):
        read_run(run)


def test_evaluate_and_postprocess_ask_for_the_files_that_they_read(run) -> None:
    (run / "half2_unfil.mrc").write_text("of another run")
    assert find_run(run).map is not None
    with pytest.raises(InputError, match=r"half2_unfil\.mrc is not the file"):
        postprocess(run, overwrite=True)
    (run / "fsc.csv").write_text("of another run")
    with pytest.raises(InputError, match=r"fsc\.csv is not the file"):
        find_run(run)


def test_what_spoke_of_other_results_goes_with_them(run) -> None:
    finish(run, "first", resume=True)
    assert (run / "evaluation.json").exists()
    finish(run, "the other hand", resume=True)
    left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert not left & {"evaluation.json", "report.html", "postprocess/fsc.csv"}
    assert "notes.txt" in left
    require_own_results(run)


def test_what_spoke_of_results_that_were_half_replaced_goes_too(run) -> None:
    (run / RECORD).unlink()  # as a run that was killed while it wrote leaves them
    finish(run, "the other hand", resume=True)
    assert not (run / "evaluation.json").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"../p.star": "x"}', None])
def test_a_record_that_says_nothing_refuses_nothing(run, text) -> None:
    (run / "map.mrc").write_text("of another run")
    (run / RECORD).unlink() if text is None else (run / RECORD).write_text(text)
    require_own_results(run)
