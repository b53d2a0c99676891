"""The report as a file: what is on it, what it says of good and bad runs, and that it can break nothing."""

import base64
import json
import re
import zlib
from html import escape, unescape
from pathlib import Path

import numpy as np
import pytest
import torch

from reports.conftest import write_poses
from reports.example_run import AMPLITUDES, BOX, PIXEL, N, make_run, phantom
from resmfn.core import InputError
from resmfn.data import write_map
from resmfn.evaluation import FscCurve, ViewCoverage, fsc_csv_text
from resmfn.fourier import radius_grid
from resmfn.fourier.transforms import fftn_centered, ifftn_centered
from resmfn.reports.findings import find, measure_views
from resmfn.reports.html.charts import Axes, Line, histogram, line_chart, nice_ticks
from resmfn.reports.html.pictures import colored, mollweide_uri, png_uri
from resmfn.reports.html.volumes import MOST_SIZE, MOST_SIZE_FIRST, pack_local, pack_map
from resmfn.reports.inputs import read_fsc_table
from resmfn.reports.report import build_page, live_report, report
from resmfn.reports.run_record import read_run
from resmfn.reports.scoring import evaluate
from resmfn.rotations import asymmetric_unit, point_group, random_rotations


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("report") / "a <b> run")


@pytest.fixture(scope="module")
def page(run) -> str:
    return report(run).read_text()


def voxels(packed: dict) -> np.ndarray:
    data = zlib.decompress(base64.b64decode(packed["voxels"]))
    return np.frombuffer(data, np.uint8).reshape((packed["size"],) * 3)


# --- the page ----------------------------------------------------------------------------------------


def test_a_finished_run_has_all_sections_each_with_words_on_how_to_read_it(page) -> None:
    names = re.findall(r'<section id="(\w+)"', page)
    assert names == [
        "findings",
        "map",
        "sections",
        "fsc",
        "validation",
        "poses",
        "pairs",
        "progress",
        "optics",
        "files",
        "settings",
    ]
    assert len(re.findall(r'<p class="read">[^<]{25,}', page)) == len(names)
    assert re.findall(r'<li><a href="#(\w+)"', page) == names
    for words in (
        "6.90 Å",
        "5,000",
        "Half map 2",
        "Scale 1",
        "phases randomized",
        "Log-likelihood",
        "defocus",
        "shift_range",
    ):
        assert words in page, words


def test_text_from_the_run_cannot_become_markup(run, page) -> None:
    assert "a &lt;b&gt; run" in page
    assert "<of>" not in page
    assert "<b> run" not in page


def test_the_page_holds_all_it_needs_and_the_license_of_what_is_not_ours(page) -> None:
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "default-src 'none'" in unescape(page)
    assert "University of Pittsburgh" in page
    assert page.count("</script>") == 3
    assert len(page) < 2.5e6


def test_a_run_that_goes_on_shows_what_there_is(tmp_path) -> None:
    page = build_page(read_run(make_run(tmp_path / "run", done=False)), refresh=7)
    assert "50% done, about 60 s left" in page
    assert "Still running: halves, round 2." in page
    assert "Map so far" in page
    assert '"refresh": 7' in page
    assert re.findall(r'<section id="(\w+)"', page) == ["findings", "map", "sections", "progress", "files", "settings"]


def test_a_run_that_has_only_begun_has_a_page(tmp_path) -> None:
    (tmp_path / "config.yaml").write_text("particles: p.star\n")
    (tmp_path / "metrics.jsonl").write_text('{"stage": "search", "start": 1, "log_lik')  # half a line
    page = build_page(read_run(tmp_path))
    assert re.findall(r'<section id="(\w+)"', page) == ["findings", "files", "settings"]
    assert "University of Pittsburgh" not in page  # no viewer without maps


def test_live_writes_until_the_run_is_done(tmp_path) -> None:
    run, waits = make_run(tmp_path / "run", done=False), []

    def sleep(seconds: float) -> None:
        assert '"refresh": 10' in (run / "report.html").read_text()
        waits.append(seconds)
        if len(waits) == 2:
            (run / "summary.json").write_text('{"verdict": "half maps agree"}')

    assert live_report(run, interval=3.0, sleep=sleep) == run / "report.html"
    assert waits == [3.0, 3.0]
    assert '"refresh": 0' in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.yaml", "a: [", "config.yaml: cannot be read"),
        ("summary.json", "{", "summary.json: not JSON"),
        ("examples.npz", "no", "examples.npz does not hold examples of particles"),
    ],
)
def test_a_broken_file_is_named(tmp_path, name, text, message) -> None:
    run = make_run(tmp_path / "run")
    (run / name).write_text(text)
    with pytest.raises(InputError, match=message):
        report(run)
    assert not (run / "report.html").exists()


def test_what_is_no_run_is_refused(tmp_path, run) -> None:
    with pytest.raises(InputError, match="no such run folder"):
        report(tmp_path / "none")
    with pytest.raises(InputError, match="not a run folder"):
        report(tmp_path)
    with pytest.raises(InputError, match="does not exist; create it first"):
        report(run, tmp_path / "no" / "report.html")
    with pytest.raises(InputError, match="this is a folder"):
        report(run, tmp_path)


# --- what it says ------------------------------------------------------------------------------------


def titles(run: Path, coverage: ViewCoverage | None = None) -> dict[str, str]:
    return {finding.title: finding.level for finding in find(read_run(run), coverage)}


def test_a_good_run_is_called_good(run) -> None:
    found = find(read_run(run), measure_views(read_run(run)))
    assert "Resolved to 6.90 Å" in {f.title for f in found if f.level == "good"}
    assert "Starts agree" in {f.title for f in found if f.level == "good"}


@pytest.mark.parametrize(
    ("summary", "title"),
    [
        ({"resolution_half_0143": 14.0}, "Not resolved"),
        ({"structure_found": False, "verdict": "no structure found: noise"}, "No structure found"),
        ({"start_agreement": [1.0, 0.95, 0.4]}, "The starts differ"),
        ({"n_particles": 300}, "Few particles: 300"),
    ],
)
def test_what_is_wrong_is_said_first(tmp_path, summary, title) -> None:
    found = titles(make_run(tmp_path / "run", **summary))
    assert found[title] == "warning"
    assert list(found.values()) == sorted(found.values(), key=["warning", "note", "good"].index)


def test_halves_at_poses_that_were_kept_are_called_resolved_nowhere(tmp_path) -> None:
    run = make_run(tmp_path / "run")
    settings = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(re.sub(r"(?m)^poses:.*\n", "", settings) + "poses: fixed\n")
    found = titles(run)
    assert found["Not confirmed"] == "warning"
    assert not any(title.startswith("Resolved") for title in found)
    page = unescape(build_page(read_run(run)))
    assert "not confirmed, for poses of the input were kept" in page
    assert "no resolution: they share the poses of the input" in page


def test_noise_is_called_neither_resolved_nor_good_in_any_way(tmp_path) -> None:
    assert "good" in titles(make_run(tmp_path / "whole")).values()
    run = make_run(tmp_path / "run", structure_found=False, verdict="no structure found: noise")
    assert "good" not in titles(run).values()
    assert "<dt>Resolution</dt><dd>none<" in build_page(read_run(run))


def test_nyquist_is_named_wherever_a_figure_is_nyquist(tmp_path) -> None:
    """Pixels of 3 Å: half maps that agree to the last shell agree to 6.00 Å, whatever they would do beyond."""
    run = make_run(tmp_path / "run", resolution_half_0143=6.0)
    found = titles(run)
    assert found["Limited by the pixel size"] == "note"
    assert found["Resolved to 6.00 Å (Nyquist)"] == "good"
    rows = (run / "fsc.csv").read_text().splitlines()
    agreeing = [re.sub(r"^(\d+,[^,]*,[^,]*),[^,]*", r"\1,0.9", row) for row in rows[1:]]
    (run / "fsc.csv").write_text("\n".join([rows[0], *agreeing]) + "\n")
    validation = json.loads((run / "validation.json").read_text())
    validation["local_resolution"] = {"p05": 6.0, "median": 6.7, "p95": 9.0}
    (run / "validation.json").write_text(json.dumps(validation))
    page = build_page(read_run(run))
    assert (
        "<dt>Resolution</dt><dd>6.00 Å (Nyquist)<small>half maps at 0.143, corrected; 6.00 Å (Nyquist) at 0.5" in page
    )
    assert "6.00 Å (Nyquist) at 0.143, 6.00 Å (Nyquist) at 0.5" in page
    assert "median 6.70 Å; 90 % of the voxels 6.00 Å (Nyquist) to 9.00 Å" in page
    assert not re.findall(r"6\.00 Å(?! \(Nyquist\))", page[page.index('id="fsc"') : page.index('id="poses"')])


def test_each_curve_stands_under_its_own_name(tmp_path) -> None:
    """Curves of known heights: each name with its own figures, in the legend and in the table."""
    run = make_run(tmp_path / "run")
    frequency = read_fsc_table(run / "fsc.csv")["masked"].frequency
    heights = {"corrected": 0.6, "masked": 0.7, "unmasked": 0.3, "randomized": 0.1}
    curves = {name: FscCurve(frequency, torch.full_like(frequency, h)) for name, h in heights.items()}
    (run / "fsc.csv").write_text(fsc_csv_text(curves))
    section = sections_of(build_page(read_run(run)))["fsc"]
    said = dict(re.findall(r"<th scope=\"row\">([^<]*)</th><td>[^<]* area ([\d.]+)</td>", section))
    assert said == {
        "corrected for the mask": "0.600",
        "with mask": "0.700",
        "without mask": "0.300",
    }
    colors = {
        label: color for color, label in re.findall(r'class="line (c\d)[^"]*"[^>]*></line></svg>([^<:]*)', section)
    }
    points = re.findall(r'<polyline class="line (c\d)[^"]*" points="[\d.]+,([\d.]+)', section)
    first_y = {color: float(y) for color, y in reversed(points)}  # of the first chart: others follow
    ordered = ["with mask", "corrected for the mask", "without mask"]
    ordered.append("phases randomized, with mask")
    assert sorted(ordered, key=lambda name: first_y[colors[name]]) == ordered  # high curves have a small y


def sections_of(page: str) -> dict[str, str]:
    """Return the markup of each section by its name."""
    return {part.partition('"')[0]: part.partition("</section>")[0] for part in page.split('<section id="')[1:]}


def test_the_truth_is_shown_where_it_was_found(tmp_path, finished_run) -> None:
    run = make_run(tmp_path / "run")
    assert "truth" not in sections_of(build_page(read_run(run)))
    evaluate(finished_run / "run", reference=finished_run / "volume.mrc",
             true_poses=finished_run / "particles_true.star", out=run, figure=False)  # fmt: skip
    found = json.loads((run / "evaluation.json").read_text())
    section = sections_of(build_page(read_run(run)))["truth"]
    assert f"median {found['poses']['median']:.2f}°" in section
    assert f"{found['fsc']['masked']['resolution_05']:.2f} Å" in section
    assert "<td>mirrored</td>" in section
    assert f"{found['shifts']['rms']:.2f} Å rms" in section


def test_the_noise_control_and_the_images_that_look_like_noise_are_told(tmp_path) -> None:
    control = {"n_images": 321, "gain": 12.345, "gain_error": 0.25, "lead": 3.5, "lead_error": 0.5}
    run = make_run(tmp_path / "run", noise_control=control, n_bad=1234)
    page = build_page(read_run(run))
    assert (
        "321 images not used for the map fit it better than noise by 12.35 ± 0.25 nat, "
        "and better than random maps by 3.5 ± 0.5" in page
    )
    assert "<td>1,234 of 5,000</td>" in page
    assert "<dt>Particles</dt><dd>5,000<small>used; 1,234 look like noise" in page
    assert titles(run)["Images that look like noise"] == "warning"
    assert titles(run)["There is a structure"] == "good"
    few = make_run(tmp_path / "few", n_bad=3)
    assert titles(few)["Images that look like noise"] == "note"
    assert "Images that look like noise" not in titles(make_run(tmp_path / "none", n_bad=0))


def test_what_the_run_warns_of_is_passed_on(tmp_path) -> None:
    starts = "1 of 3 other starts ended in another coarse map"  # said by the finding on starts
    run = make_run(tmp_path / "run", warnings=["half of the CTF is missing", starts])
    found = [finding for finding in find(read_run(run), None) if finding.title == "The run warns"]
    assert [(finding.level, finding.text) for finding in found] == [("warning", "half of the CTF is missing.")]


def test_the_guinier_plot_has_the_line_of_the_b_factor(tmp_path) -> None:
    """Half maps whose amplitudes fall by a known B-factor, without noise: the plot says that B-factor."""
    run, size = make_run(tmp_path / "run"), 32
    squared = (radius_grid(size, 3) / (size * PIXEL)).square()
    noise = torch.randn(size, size, size, generator=torch.Generator().manual_seed(5))
    white = fftn_centered(noise) / fftn_centered(noise).abs()
    fallen = ifftn_centered(white * torch.exp(-400.0 / 4 * squared)).real
    for name in ("half1", "half2"):
        write_map(run / f"{name}.mrc", fallen, PIXEL)
    frequency = torch.arange(size // 2 + 1).double() / (size * PIXEL)
    (run / "fsc.csv").write_text(fsc_csv_text({"corrected": FscCurve(frequency, torch.ones(size // 2 + 1).double())}))
    page = sections_of(build_page(read_run(run)))["validation"]
    found = re.search(r"line fitted to (\d+) shells: B-factor (-\d+) Å²", page)
    assert float(found[2]) == pytest.approx(-400, abs=8)  # shells are rings, not radii
    assert page.count('class="dot c1"') == size // 2


def test_the_guinier_plot_is_of_the_half_maps_without_mask_where_they_are(tmp_path) -> None:
    run = make_run(tmp_path / "run")
    for name in ("half1", "half2"):
        write_map(run / f"{name}_unfil.mrc", torch.zeros(BOX, BOX, BOX), PIXEL)
    (run / "half2_unfil.mrc").rename(run / "elsewhere.mrc")
    assert "Guinier plot" in sections_of(build_page(read_run(run)))["validation"]
    (run / "elsewhere.mrc").rename(run / "half2_unfil.mrc")
    assert "Guinier plot" not in sections_of(build_page(read_run(run)))["validation"]  # maps of nothing have no points


def test_every_file_of_the_run_is_named_with_the_place_where_it_is(run, page) -> None:
    files = sections_of(page)["files"]
    assert escape(str(run.resolve())) in files
    for path in run.iterdir():
        assert path.name in files or path.suffix == ".html"


def test_a_run_of_the_published_preset_shows_its_scales_and_no_resolution(tmp_path) -> None:
    run = make_run(tmp_path / "run", done=False)
    (run / "preview.mrc").unlink()
    (run / "maps").mkdir()
    for epoch, scales in ((2, 1), (10, 3)):
        for scale in range(1, scales + 1):
            write_map(run / "maps" / f"epoch{epoch:03d}_scale{scale}.mrc", phantom(), PIXEL)
    write_map(run / "map.mrc", phantom(), PIXEL)
    rows = [{"stage": "epoch", "epoch": e, "loss": 1.0 / e, "pose_error_median": 20.0 - e} for e in range(1, 11)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {"verdict": "poses 10.0° from the truth", "pose_error_median": 10.0, "n_particles": 60, "box_size": 24,
             "pixel_size": 3.0, "seconds": 5.0, "device": "cpu", "peak_memory": 2**28}  # fmt: skip
    (run / "summary.json").write_text(json.dumps(found))
    record = read_run(run)
    assert list(record.maps) == ["Unfiltered map", "Scale 1 (epoch 10)", "Scale 2 (epoch 10)", "Scale 3 (epoch 10)"]
    page = build_page(record)
    assert "inf Å" not in page
    assert "<dt>Pose error</dt><dd>10.0°" in page
    assert "<dt>Resolution" not in page
    assert "Loss, loss of an epoch, over 10 epochs: from 1 to 0.1." in page


def test_a_run_that_resolves_nothing_has_no_resolution_at_its_head(tmp_path) -> None:
    page = build_page(read_run(make_run(tmp_path / "run", resolution_split=6.0)))
    assert "<dt>Resolution</dt><dd>none<small>half maps agree to 6.90 Å at 0.143, corrected; not resolved" in page


@pytest.mark.parametrize("nowhere", [None, float("inf")])
def test_halves_that_agree_nowhere_have_no_resolution_and_a_warning(tmp_path, nowhere) -> None:
    run = make_run(tmp_path / "run", resolution_half_0143=nowhere)
    page = build_page(read_run(run))
    assert "Not resolved.</b>The half maps agree nowhere." in page
    assert "<dt>Resolution</dt><dd>none<small>the half maps do not agree" in page


def test_a_symmetric_map_is_seen_from_wherever_its_copies_are(tmp_path) -> None:
    """With O, a search finds one of 24 equal poses, here always the nearest to no turn: that is no preference."""
    run = make_run(tmp_path / "run")
    group = point_group("O")
    rotation = random_rotations(20_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rotation = rotation[asymmetric_unit(rotation, group)][:N]
    write_poses(run / "particles.star", rotation, torch.zeros(N, 2), list(range(1, N + 1)))
    record = read_run(run)
    assert titles(run, measure_views(record))["Preferred orientation"] == "warning"
    (run / "config.yaml").write_text("symmetry: O\n")
    record = read_run(run)
    found = {finding.title: finding for finding in find(record, measure_views(record))}
    assert found["Views cover all directions"].level == "good"
    assert "each image counts as 24 views" in found["Views cover all directions"].text
    assert f"{N} particles, each 24 times by its symmetry" in build_page(record)


def test_a_group_that_images_deny_is_a_warning_and_one_that_they_do_not_is_said_to_fit(tmp_path) -> None:
    run = make_run(tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text()) | {"symmetry": "C2"}
    test = {"group": "C2", "gain": 9.66, "gain_error": 0.23, "resolution": 11.1, "are_told_apart": True}
    for told, title, level in (
        (True, "The molecule does not have C2", "warning"),
        (False, "C2 fits the images", "good"),
    ):
        said = {"symmetry_test": test | {"are_told_apart": told}}
        (run / "summary.json").write_text(json.dumps(summary | said))
        record = read_run(run)
        assert titles(run, measure_views(record))[title] == level
        assert "9.7 ± 0.2 nat each, to 11.1 Å" in build_page(record)


def test_a_group_that_was_relaxed_says_how_many_copies_are_known(tmp_path) -> None:
    run = make_run(tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text()) | {"symmetry": "C1", "relax_symmetry": "C4"}
    test = {"group": "C4", "gain": 46.0, "gain_error": 0.7, "resolution": 5.3, "are_told_apart": True}
    summary["symmetry_test"] = test | {"share_of_copies_known": 0.874}
    (run / "summary.json").write_text(json.dumps(summary))
    record = read_run(run)
    assert titles(run, measure_views(record))["Copies by C4 told apart"] == "good"
    assert "87% of all images show one copy" in build_page(record)


def test_a_refined_defocus_is_told(tmp_path) -> None:
    run = make_run(tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    assert "Defocus was asked of the images" not in titles(run)
    summary["defocus"] = {"refined": True, "verdict": "off from that of the file by 180 Å"}
    (run / "summary.json").write_text(json.dumps(summary))
    assert titles(run)["Defocus was asked of the images"] == "note"
    assert "Defocus was off from that of the file by 180 Å." in build_page(read_run(run))


def test_halves_that_differ_from_the_start_are_a_warning(tmp_path) -> None:
    run = make_run(tmp_path / "run")
    text = (run / "fsc.csv").read_text().splitlines()
    rows = [text[0], *(re.sub(r"^(\d+,[^,]*,[^,]*),[^,]*,[^,]*", r"\1,0.5,0.5", line) for line in text[1:])]
    (run / "fsc.csv").write_text("\n".join(rows) + "\n")
    assert titles(run)["The half maps disagree"] == "warning"


def test_the_validation_is_told_in_words(page) -> None:
    words = page.partition('<section id="validation"')[2].partition("</section>")[0]
    for said in (
        "correlation with the likeliest 0.97, 0.95, 1.00",
        "sphericity",
    ):
        assert said in words
    assert "along x" in page.partition('<section id="fsc"')[2].partition("</section>")[0]


def test_local_resolution_is_packed_by_nearest_voxels_with_its_origin_kept(tmp_path) -> None:
    volume = torch.zeros(96, 96, 96)
    volume[48, 48, 48:] = torch.linspace(3, 6, 48)  # 3 Å at the origin, coarser along x
    write_map(tmp_path / "local.mrc", volume, 1.5)
    packed = pack_local(tmp_path / "local.mrc")
    assert (packed["size"], packed["pixel"]) == (64, 2.25)
    assert packed["low"] == pytest.approx(3.0, abs=0.1)
    assert packed["high"] == pytest.approx(6.0, abs=0.2)
    assert np.count_nonzero(voxels(packed)) == 32
    row = voxels(packed)[32, 32, 32:].astype(int)
    assert row[0] == 1
    assert (np.diff(row) >= 0).all()
    assert row[-1] == 255


def test_prevailing_views_and_shifts_at_the_edge_are_warnings(tmp_path, run) -> None:
    assert titles(run, ViewCoverage(6.0, 0.0, 0.1))["Preferred orientation"] == "warning"
    assert titles(run, ViewCoverage(2.0, 0.0, 0.4))["Preferred orientation"] == "warning"
    assert titles(run, ViewCoverage(2.0, 0.3, 0.1))["Views cover all directions"] == "good"
    narrow = make_run(tmp_path / "run")
    (narrow / "config.yaml").write_text("shift_range: 1.0\n")
    assert titles(narrow)["Shifts at the edge of the search range"] == "warning"


# --- maps and pictures -------------------------------------------------------------------------------


def test_a_packed_map_keeps_axes_origin_and_grey_values(run) -> None:
    packed = pack_map(run / "map.mrc", "map")
    data = packed["low"] + voxels(packed) / 255 * (packed["high"] - packed["low"])
    n = packed["size"]
    assert (n, packed["pixel"]) == (64, pytest.approx(BOX * PIXEL / 64))
    for axis, distance, bright in ((2, 6, AMPLITUDES[0]), (1, 5, AMPLITUDES[1]), (0, 4, AMPLITUDES[2])):
        place = [n // 2] * 3
        place[axis] += round(distance * n / BOX)
        mirrored = [n // 2] * 3
        mirrored[axis] -= round(distance * n / BOX)
        assert data[tuple(place)] == pytest.approx(float(bright), abs=0.15)
        assert data[tuple(mirrored)] < 0.15
    assert packed["mean"] == pytest.approx(float(phantom().mean()), rel=1e-3)


@pytest.mark.parametrize(
    ("box", "resolution", "is_first", "size"),
    [(100, 2.0, True, MOST_SIZE_FIRST), (80, 3.0, True, 80), (80, 3.0, False, MOST_SIZE), (80, 30.0, True, 64),
     (80, None, True, 64), (70, 2.0, True, 70), (80, float("inf"), True, 64)],
)  # fmt: skip
def test_large_maps_are_cropped_as_far_as_their_resolution_allows(tmp_path, box, resolution, is_first, size) -> None:
    write_map(tmp_path / "map.mrc", torch.randn(box, box, box, generator=torch.Generator().manual_seed(1)), 1.0)
    assert pack_map(tmp_path / "map.mrc", "map", resolution, is_first=is_first)["size"] == size


def test_an_empty_map_has_a_range(tmp_path) -> None:
    write_map(tmp_path / "map.mrc", torch.zeros(16, 16, 16), 1.0)
    packed = pack_map(tmp_path / "map.mrc", "map")
    assert packed["high"] > packed["low"]
    assert not voxels(packed).any()


def decoded(uri: str) -> np.ndarray:
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_a_picture_is_read_back_as_it_was_written() -> None:
    grey = np.arange(15, dtype=np.uint8).reshape(3, 5)
    assert np.array_equal(decoded(png_uri(grey)), grey)
    rgba = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert np.array_equal(decoded(png_uri(rgba)), rgba)
    assert colored(np.array([0.0, 1.0])).tolist() == [[68, 1, 84], [253, 231, 37]]


def test_the_sphere_shows_views_where_they_are() -> None:
    """Views from the north pole, tilt 0, are at the top; outside the ellipse there is nothing."""
    pole = torch.eye(3, dtype=torch.float64).expand(50, 3, 3)
    picture, top = mollweide_uri(pole, width=120)
    pixels = decoded(picture).astype(int)
    assert top > 10
    assert pixels[0, 60, 0] > 200  # yellow
    assert pixels[30, 60, 0] < 90  # dark
    assert pixels[0, 0, 3] == 0
    even, top = mollweide_uri(random_rotations(4000, generator=torch.Generator().manual_seed(2)), width=60)
    assert top == 2.0
    assert decoded(even)[15, 30, 1] > 100


def test_a_chart_puts_its_points_where_they_belong() -> None:
    svg = line_chart(
        [Line([(0, 0), (1, 1)], "a"), Line([], "none")], Axes("x <u>", "y", (0, 1), (0, 1)), 'the "alt"'
    ).html
    assert 'points="62.0,254.0 544.0,30.0"' in svg
    assert "the &quot;alt&quot;" in svg
    assert "x &lt;u&gt;" in svg
    assert "legend" not in svg
    shares = re.findall(
        r": ([\d.]+) %", histogram([0.1, 0.1, 0.9, 5.0], Axes("x", "y", (0.0, 1.0)), "alt", n_bins=2).html
    )
    assert shares == ["50.0", "50.0"]
    assert nice_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(2, 2) == [2]


def test_data_in_the_page_cannot_end_their_element(tmp_path) -> None:
    run = make_run(tmp_path / "run")
    page = build_page(read_run(run))
    data = re.search(r'id="page-data">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data[1])["maps"][0]["title"] == "Filtered map"
    assert "<" not in data[1]
