"""The benchmark scripts at a size that shows they still work."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import mrcfile
import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).parents[2]


def independent_tools(shared: Path) -> list[str]:
    """Return the flags that say where the simulator, the scorer and the models lie."""
    tools = ["--simulator", str(shared / "tools" / "make_particles.py"), "--models", str(shared / "corpus" / "models")]
    return [*tools, "--scorer", str(shared / "tools" / "score_map.py")]


@pytest.mark.shared
def test_accuracy_benchmark_runs_and_the_tiny_case_is_solved(shared, tmp_path):
    results = tmp_path / "results.jsonl"
    tools = {
        "RESMFN_SIMULATOR": str(shared / "tools" / "make_particles.py"),
        "RESMFN_SCORER": str(shared / "tools" / "score_map.py"),
        "RESMFN_MODELS": str(shared / "corpus" / "models"),
    }
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "bench_accuracy.py"), "--cases", "tiny"]
    command += ["--out", str(tmp_path / "out"), "--results", str(results)]
    subprocess.run(command, check=True, env={**os.environ, **tools}, capture_output=True)
    record = json.loads(results.read_text())
    assert record["pose_median_deg"] < 5
    assert record["fsc05_unmasked_A"] < 8


@pytest.mark.shared
def test_real_sets_benchmark_runs_on_a_tiny_assembly(shared, tmp_path):
    results = tmp_path / "results.jsonl"
    flags = ["--n", "600", "--box", "24", "--out", str(tmp_path / "out"), "--results", str(results)]
    run_script("bench_real_sets.py", "--cases", "symmetry-c4", *independent_tools(shared), *flags)
    record = json.loads(results.read_text())
    assert (record["benchmark"], record["case"]) == ("real_sets", "symmetry-c4")
    assert record["made_with"]["resmfn"]
    assert record["C4"]["fsc05_unmasked_A"] < 30  # 300 images of 6.8 Å
    assert record["C1"]["cpu_s"] > 0


def test_the_headline_needs_nothing_but_the_repository(tmp_path):
    """The tiny case from a bare environment: simulated and judged by the programs in independent/."""
    results = tmp_path / "results.jsonl"
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "bench_accuracy.py"), "--cases", "tiny", "rhodopsin"]
    command += ["--out", str(tmp_path / "out"), "--results", str(results)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RESMFN_")} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    assert "rhodopsin: not measured: 1u19.pdb is not in" in done.stdout
    record = json.loads(results.read_text())
    assert record["simulator"] == "benchmarks/independent/simulate.py"
    assert record["scorer"] == "benchmarks/independent/score.py"
    assert record["pose_median_deg"] < 5
    assert record["fsc05_unmasked_A"] < 8


def module_of(name: str) -> ModuleType:
    """Import a script as it would be if it were run."""
    sys.path.insert(0, str(REPOSITORY / "benchmarks"))
    try:
        return import_module(Path(name).stem)
    finally:
        sys.path.pop(0)


def run_script(name: str, *flags: str) -> None:
    """Run a script on one thread: threads that wait for each other on a busy machine burn CPU seconds of their own."""
    command = [sys.executable, str(REPOSITORY / "benchmarks" / name), *flags]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_enlarged_images_keep_their_coefficients_and_have_white_noise_beyond(tmp_path, generator):
    bench = module_of("bench_full_size.py")
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    images = torch.randn(2, bench.BOX, bench.BOX, generator=generator).numpy()
    with mrcfile.new(small / "particles.mrcs", images) as file:
        file.set_image_stack()
    optics = f"{bench.EXTENT / bench.BOX:f} {bench.BOX} 2"
    (small / "particles.star").write_text(f"1 opticsGroup1 {optics}\n")
    bench.enlarge(small, large)
    assert (large / "particles.star").read_text() == "1 opticsGroup1 0.375000 256 2\n"
    with mrcfile.open(large / "particles.mrcs") as file:
        assert file.data.dtype == np.float16
        found = np.fft.fft2(file.data.astype(float))
    given, low = np.fft.fft2(images), bench.BOX // 2
    kept = np.r_[:low, -low + 1 : 0]
    np.testing.assert_allclose(
        found[:, kept][:, :, kept] / (bench.STORED / bench.BOX) ** 2, given[:, kept][:, :, kept], atol=0.5
    )
    power = np.abs(found) ** 2
    beyond = power[:, low + 1 : -low - 1, low + 1 : -low - 1].mean()
    assert beyond == pytest.approx(power[:, kept][:, :, kept].mean(), rel=0.15)


def test_network_benchmark_finds_the_network_near_the_explicit_map(tmp_path):
    results = tmp_path / "fits.jsonl"
    flags = ["--n", "200", "--box", "24", "--pixel-size", "4", "--no-halves", "--results", str(results)]
    run_script("bench_network_fit.py", *flags)
    record = json.loads(results.read_text())
    assert (record["benchmark"], record["case"]) == ("network_fit", "n200-box24")
    assert record["reached"] > 0.9
    assert abs(record["network_mean_fsc"] - record["explicit_mean_fsc"]) < 0.05


def test_kernel_benchmark_stays_below_what_the_device_can_do(tmp_path):
    results = tmp_path / "kernels.jsonl"
    run_script(
        "bench_kernels.py",
        "--device",
        "cpu",
        "--n",
        "60",
        "--box-size",
        "24",
        "--repeats",
        "1",
        "--results",
        str(results),
    )
    record = json.loads(results.read_text())
    for name in ("scoring", "pose_steps", "insertion", "network_step"):
        # A loaded machine may slow a ceiling down more than a path: half as fast again is still no counting error.
        assert 0 < record[name]["share_of_floor"] < 1.5, name


def test_maps_of_ten_classes_and_more_are_scored_in_the_order_of_the_classes(tmp_path):
    maps_of = module_of("bench_classes.py").maps_of
    classes = [{"folder": f"class{number}"} for number in range(1, 13)]
    assert maps_of(tmp_path, {"classes": classes}) == [tmp_path / f"class{k}" / "map.mrc" for k in range(1, 13)]
    assert maps_of(tmp_path, {"n_particles": 10}) == [tmp_path / "map.mrc"]


def test_exponents_of_known_growth_are_found_and_tabled():
    scaling = module_of("bench_scaling.py")
    sizes = [1000, 4000, 200_000]
    assert scaling.exponent(sizes, [3e-3 * n**0.75 for n in sizes]) == 0.75
    assert scaling.exponent([1000], [5.0]) is None
    rows = {str(n): {"n": n, "box": 64, "wall_s": 2.5, "cpu_s": n / 10, "peak_memory_mib": 7} for n in sizes}
    names = ("n_wall_exponent", "box_wall_exponent", "n_cpu_exponent", "box_cpu_exponent")
    lines = scaling.table({"against_n": rows, "against_box": {}} | dict.fromkeys(names, 0.5)).splitlines()
    assert lines[2] == "| 1000 | 64 | 2.5 | 100.0 | 7 |"
    assert len(lines) == 2 + 3 + 2
    assert "n cpu exponent 0.5" in lines[-1]


def test_a_program_is_stopped_when_its_time_is_up(tmp_path):
    accuracy = module_of("bench_accuracy.py")
    with pytest.raises(accuracy.StoppedAtLimitError) as stopped:
        accuracy.run([sys.executable, "-c", "while True: pass"], limit_s=1)
    assert 0.9 < stopped.value.usage.cpu_s < 5
    script = "import os; print(os.getcwd())"
    usage = accuracy.run([sys.executable, "-c", script], folder=tmp_path, limit_s=60)
    assert Path(usage.output.strip()).samefile(tmp_path)
    assert usage.cpu_s < 5
    with pytest.raises(SystemExit, match="exit code 3"):
        accuracy.run([sys.executable, "-c", "raise SystemExit(3)"], limit_s=60)


def test_a_program_that_is_stopped_or_not_there_is_said_to_be(tmp_path):
    peers, bench = module_of("peers.py"), module_of("bench_peers.py")
    assert peers.missing("aspire", tmp_path)[:1] == ["aspire"] or shutil.which("aspire")
    usage = module_of("bench_accuracy.py").Usage(wall_s=9.0, cpu_s=7.0, peak_memory_mib=5.0)
    row = bench.figures(None, peers.Attempt([usage, usage]), tmp_path, argparse.Namespace(limit_s=7))
    assert row == {"stopped": "no map after 7 CPU s", "cpu_s": 14.0, "wall_s": 18.0, "peak_memory_mib": 5}
    assert "| cryodrgn | 14.0 | 5 |  | no map after 7 CPU s |  |" in bench.table({"cryodrgn": row})


@pytest.mark.shared
def test_peers_benchmark_says_which_program_is_not_there(shared, tmp_path):
    results = tmp_path / "peers.jsonl"
    flags = [*independent_tools(shared), "--cases", "tiny", "--out", str(tmp_path / "out")]
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "bench_peers.py"), "--peers", "cryodrgn", *flags]
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(
        [*command, "--results", str(results)], check=True, env=environment, capture_output=True, text=True
    )
    assert "cryodrgn: not measured: cryodrgn, cryodrgn_utils missing (pip install cryodrgn)" in done.stdout
    record = json.loads(results.read_text())
    assert record["resmfn"]["n_images"] == 300
    assert record["resmfn"]["pose_median_deg"] < 5
    assert "cryodrgn" not in record


@pytest.mark.shared
@pytest.mark.relion
@pytest.mark.long
def test_relion_runs_beside_us_on_tiny_data(shared, tmp_path):
    results = tmp_path / "peers.jsonl"
    flags = [*independent_tools(shared), "--cases", "tiny", "--out", str(tmp_path / "out")]
    flags += ["--peers", "relion"]
    run_script("bench_peers.py", *flags, "--results", str(results))
    record = json.loads(results.read_text())
    assert record["resmfn"]["fsc05_unmasked_A"] < 8
    assert record["relion"]["cpu_s"] > 0
    assert record["cpu_share"] > 0


def test_scaling_and_process_benchmarks_run_at_a_tiny_size(tmp_path):
    flags = ["--out", str(tmp_path / "out"), "--results", str(tmp_path / "results.jsonl")]
    sizes = ["--n", "60", "120", "--base-n", "60", "--base-box", "16", "--boxes", "16", "24"]
    run_script("bench_scaling.py", *sizes, *flags)
    run_script("bench_processes.py", "--n", "60", "--box-size", "16", *flags)
    scaling, processes = (json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines())
    assert -0.5 < scaling["n_cpu_exponent"] < 1.5
    assert None not in (scaling["box_cpu_exponent"], scaling["n_wall_exponent"], scaling["box_wall_exponent"])
    assert processes["several"]["busiest_cpu_s"] > 0
    assert 0 < processes["ceiling"] < 4  # two processes apart: 2 where cores share nothing
    assert min(processes[who]["rounds"] for who in ("one", "several")) >= 3


def test_cryoem_benchmark_runs_once_and_then_only_tables(tmp_path):
    results = tmp_path / "results.json"
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "paper" / "cryoem.py"), "--case", "tiny"]
    command += ["--seeds", "0", "--out", str(tmp_path / "out"), "--results", str(results)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RESMFN_")}
    first = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    records = json.loads(results.read_text())
    assert [record["variant"] for record in records] == ["residual-mfn", "staged"]
    assert records[0]["fsc05_unmasked_A"] > 0
    again = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    assert again.stdout == first.stdout[-len(again.stdout) :]


def test_fit_step_benchmark_runs(tmp_path):
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "bench_fit_step.py"), "--device", "cpu", "--size", "16"]
    command += ["--hidden-dim", "8", "--steps", "2", "--results", str(tmp_path / "steps.json")]
    subprocess.run(command, check=True, capture_output=True)
    steps = json.loads((tmp_path / "steps.json").read_text())["steps"]
    assert [s["at_a_time"] for s in steps] == [1, 4]
    assert all(s["ms_per_step_and_image"] > 0 for s in steps)


def test_the_papers_ablation_runs_and_is_not_done_twice(tmp_path):
    results = tmp_path / "images.json"
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "paper" / "images.py"), "astronaut", "--crop", "24"]
    command += ["--epochs", "6", "--hidden-dim", "6", "--seeds", "0", "1", "--device", "cpu"]
    command += ["--variants", "staged", "residual-mfn", "--out", str(tmp_path / "runs"), "--results", str(results)]
    first = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "| residual-mfn | " in first
    assert "residual-mfn over staged, test_psnr" in first
    report = json.loads(results.read_text())
    assert set(report["variants"]["staged"]["images"]) == {"0", "1"}
    metrics = (tmp_path / "runs" / "staged_seed1" / "metrics.jsonl").read_bytes()
    again = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert again == first
    assert (tmp_path / "runs" / "staged_seed1" / "metrics.jsonl").read_bytes() == metrics


@pytest.mark.parametrize(
    ("kills", "full_disks"), [(3, 0), pytest.param(30, 20, marks=pytest.mark.long)], ids=["three", "all"]
)
def test_runs_killed_at_random_moments_end_with_the_same_bytes(tmp_path, kills, full_disks):
    results = tmp_path / "results.jsonl"
    flags = ["--kills", str(kills), "--full-disks", str(full_disks), "--seed", "1", "--results", str(results)]
    run_script("bench_come_back.py", *flags)
    record = json.loads(results.read_text())
    assert record["same_after_kill"] == kills
    assert record["killed_in_time"] >= kills - kills // 3  # the others were done before their moment came
    assert record["clear_errors"] == record["same_after_full_disk"] == record["full_disks"]
