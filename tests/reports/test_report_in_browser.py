"""The report in a real browser: it draws, its controls work, it is silent, and it asks nobody for anything."""

import io
import json
import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import yaml

from reports.example_run import BOX, PIXEL, make_fit, make_run
from resmfn.data import write_map
from resmfn.reports.report import build_page, report
from resmfn.reports.run_record import read_run
from resmfn.reports.watch import ReportServer

pytestmark = pytest.mark.browser
FOCUSED = "(({id, name, dataset, className}) => id || name || dataset.view || className)(document.activeElement)"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    return report(make_run(tmp_path_factory.mktemp("browser") / "run"))


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator:
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield running
        running.close()


class Watched:
    """A page, and what it said and asked for."""

    def __init__(self, browser, address: str, **options: object) -> None:
        self.page = browser.new_page(viewport={"width": 1280, "height": 800}, **options)
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready=yes]", timeout=60_000)

    def picture(self, selector: str) -> np.ndarray:
        """Return what is on the screen, (height, width, 3), row 0 on top."""
        from PIL import Image

        shot = self.page.locator(selector).screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(float)

    def choose(self, title: str) -> None:
        self.page.get_by_role("radio", name=title, exact=True).check()
        self.page.wait_for_timeout(150)

    def set_slider(self, selector: str, value: int) -> None:
        self.page.locator(selector).evaluate(
            "(node, value) => { node.value = value; node.dispatchEvent(new Event('input')); }", value
        )
        self.page.wait_for_timeout(150)


@pytest.fixture(scope="module")
def opened(browser, page_file) -> Iterator[Watched]:
    watched = Watched(browser, page_file.as_uri(), color_scheme="light")
    yield watched
    watched.page.close()


def lit(picture: np.ndarray) -> np.ndarray:
    """Return where the viewer shows a surface on its white ground."""
    return (picture < 240).any(axis=-1)[4:-4, 4:-4]


def center_of(mask: np.ndarray) -> tuple[float, float]:
    """Return the mean place of what is lit, from the middle, in shares of the height: right and up."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    return (columns.mean() - width / 2) / height, (height / 2 - rows.mean()) / height


def test_a_surface_is_drawn_and_the_level_changes_it(opened) -> None:
    opened.set_slider("#level", 300)
    wide = lit(opened.picture("#viewer")).sum()
    opened.set_slider("#level", 700)
    narrow = lit(opened.picture("#viewer")).sum()
    assert 200 < narrow < 0.8 * wide
    assert "σ" in opened.page.locator("#level").get_attribute("aria-valuetext")
    assert "kDa" in opened.page.locator("#level-text").inner_text()


def test_axes_and_hand_are_those_of_the_file(opened, browser, tmp_path_factory) -> None:
    """One blob off the origin on each axis: where each view shows them tells the axes, and with them the hand."""
    places = {"Filtered map": (7, 0, 0), "Unfiltered map": (0, 7, 0), "Half map 1": (0, 0, 7)}
    expected = {
        "front": [(1, 0), (0, 1), (0, 0)],  # x right, y up, z at you
        "side": [(0, 0), (0, 1), (-1, 0)],  # x at you, y up: in a right-handed frame z points left
        "top": [(1, 0), (0, 0), (0, -1)],  # y at you, x right: z points down
    }
    run = make_run(tmp_path_factory.mktemp("axes") / "run")
    z, y, x = torch.meshgrid(*[torch.arange(BOX) - BOX // 2] * 3, indexing="ij")
    for name, (a, b, c) in zip(("map_filtered", "map", "half1"), places.values(), strict=True):
        distance = (x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2
        write_map(run / f"{name}.mrc", torch.exp(-distance / 6.0), PIXEL)
    watched = Watched(browser, report(run).as_uri(), color_scheme="light")
    watched.set_slider("#level", 600)
    step = 7 / BOX  # the box's side is less than twice the height of the viewer
    for number, title in enumerate(places):
        watched.choose(title)
        for view, wanted in expected.items():
            watched.page.locator(f"[data-view={view}]").click()
            watched.page.wait_for_timeout(100)
            right, up = center_of(lit(watched.picture("#viewer")))
            assert (round(right / step), round(up / step)) == wanted[number], (title, view, right, up)
    watched.page.close()


def test_the_surface_is_colored_by_local_resolution_where_one_switches_it_on(opened) -> None:
    """Finest is yellow, at +x, which is to the right in the front view; coarsest is violet."""
    opened.choose("Filtered map")
    opened.page.locator("[data-view=front]").click()
    opened.set_slider("#level", 300)
    plain = opened.picture("#viewer")
    opened.page.get_by_label("Color by local resolution").check()
    opened.page.wait_for_timeout(150)
    colored = opened.picture("#viewer")
    assert opened.page.locator("#local-key").inner_text().split("\n") == ["6.00 Å", "12.00 Å"]
    seen, width = lit(colored), colored.shape[1]
    excess = (colored[..., 0] - colored[..., 2])[4:-4, 4:-4]  # red less blue: yellow is far above 0, violet below
    columns = np.arange(width)[4:-4][None].repeat(len(seen), 0)
    right, left = excess[seen & (columns > 0.5 * width + 15)], excess[seen & (columns < 0.5 * width - 15)]
    assert np.median(right) > 40
    assert np.median(left) < 0
    opened.page.get_by_label("Color by local resolution").uncheck()
    opened.page.wait_for_timeout(150)
    assert np.abs(opened.picture("#viewer") - plain).max() < 2
    assert not opened.page.locator("#local-key").is_visible()


def test_another_map_is_another_picture(opened) -> None:
    opened.page.locator("[data-view=front]").click()
    opened.choose("Filtered map")
    before = opened.picture("[data-plane='0']")
    opened.choose("Half map 1")
    opened.page.wait_for_timeout(150)
    assert opened.page.locator("h3[data-map-title]").inner_text() == "Half map 1"
    assert np.abs(opened.picture("[data-plane='0']") - before).mean() > 0.5
    opened.choose("Filtered map")


def test_sections_show_the_map_and_follow_their_sliders(opened) -> None:
    """The xy section through the origin shows the blobs at +x, to the right, and at +y, upwards."""
    opened.choose("Filtered map")
    opened.set_slider("#section-0", 504)
    central = opened.picture("[data-plane='0']").mean(axis=-1)
    height, width = central.shape
    right, left = central[height // 2, int(width * (0.5 + 6 / BOX))], central[height // 2, int(width * (0.5 - 6 / BOX))]
    up, down = central[int(height * (0.5 - 5 / BOX)), width // 2], central[int(height * (0.5 + 5 / BOX)), width // 2]
    assert right > left + 50
    assert up > down + 50
    assert opened.page.locator("#section-text-0").inner_text() == "z = 0 Å"
    opened.set_slider("#section-0", 950)
    assert opened.picture("[data-plane='0']").mean() < 0.5 * central.mean()
    opened.set_slider("#section-0", 504)


def test_all_maps_have_their_central_sections(opened) -> None:
    filled = opened.page.eval_on_selector_all(
        "[data-gallery]",
        "nodes => nodes.map(n => { const d = n.getContext('2d').getImageData(0, 0, n.width, n.height).data;"
        " return Math.max(...d.filter((_, i) => i % 4 === 0)); })",
    )
    assert len(filled) == 3 * 5
    assert min(filled) > 200


def test_the_keyboard_reaches_everything_and_turns_the_map(opened) -> None:
    page = opened.page
    reached = set()
    page.locator("body").evaluate("() => document.activeElement.blur()")
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(FOCUSED))
    assert {"skip", "viewer", "map", "level", "front", "section-0", "section-1", "section-2"} <= reached
    page.locator("#viewer").focus()
    before = page.evaluate("resmfnReport.viewer.gl.getView()")
    for key in ("ArrowLeft", "+"):
        page.keyboard.press(key)
    after = page.evaluate("resmfnReport.viewer.gl.getView()")
    assert before[4:] != after[4:]
    assert before[3] != after[3]


def test_every_picture_says_in_words_what_it_shows(opened) -> None:
    nameless = opened.page.eval_on_selector_all(
        "img, svg, canvas, input, [role=application]",
        """nodes => nodes.filter(n => !n.closest('[aria-hidden=true]') && !(n.getAttribute('alt')
            || n.getAttribute('aria-label') || (n.labels && n.labels.length))).map(n => n.outerHTML.slice(0, 80))""",
    )
    assert nameless == []
    assert opened.page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 420)])
def test_the_page_fits_and_is_silent_in_light_and_dark(browser, page_file, scheme, width) -> None:
    watched = Watched(browser, page_file.as_uri(), color_scheme=scheme)
    watched.page.set_viewport_size({"width": width, "height": 800})
    watched.page.wait_for_timeout(200)
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
    ground = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(value) for value in re.findall(r"\d+", ground)[:3]) / 3
    assert (brightness > 200) == (scheme == "light")
    assert watched.said == []
    assert [url for url in watched.asked if not url.startswith(("data:", "blob:"))] == [page_file.as_uri()]
    watched.page.close()


@pytest.mark.parametrize("width", [1280, 420])
def test_tables_of_many_classes_scroll_by_themselves(browser, tmp_path, width) -> None:
    classes = [
        {
            "folder": f"class{k}",
            "n_particles": 1000,
            "share": 1 / 16,
            "resolution_half_0143": 6.4,
            "verdict": "verdict " * 9,
        }
        for k in range(1, 17)
    ]
    flow = (1000 * np.eye(16, dtype=int)).tolist()
    run = make_run(tmp_path / "run", n_classes=16, classes=classes, class_flow=[flow, flow])
    watched = Watched(browser, report(run).as_uri())
    watched.page.set_viewport_size({"width": width, "height": 800})
    watched.page.wait_for_timeout(200)
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
    last = watched.page.locator("#flow th").filter(has_text="Changed class")
    last.scroll_into_view_if_needed()
    assert last.bounding_box()["x"] < width
    watched.page.close()


def test_nothing_was_said_or_asked_for_while_it_was_used(opened, page_file) -> None:
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith(("data:", "blob:"))] == [page_file.as_uri()]


def test_the_page_itself_forbids_requests(browser, tmp_path) -> None:
    path = tmp_path / "page.html"
    path.write_text(build_page(read_run(make_run(tmp_path / "run", done=False))))
    watched = Watched(browser, path.as_uri())
    went = watched.page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'out', (error) => String(error))")
    assert "Failed to fetch" in went
    assert any("Content Security Policy" in text for text in watched.said)
    watched.page.close()


def test_hostile_text_in_a_run_leads_nowhere(browser, tmp_path) -> None:
    """A refresh to elsewhere and a script in the settings: the page stays where it is, and runs neither."""
    run = make_run(tmp_path / "run", done=False)
    hostile = '"></td><meta http-equiv="refresh" content="0;url=http://127.0.0.1:9/">'
    hostile += '<script>document.title = "taken"</script>'
    (run / "config.yaml").write_text(yaml.safe_dump({"particles": hostile, hostile: hostile}))
    (run / "run.log").write_text(f"</pre>{hostile}")
    (run / "progress.json").write_text(json.dumps({"stage": hostile, "message": hostile, "done": hostile}))
    watched = Watched(browser, report(run).as_uri())
    watched.page.wait_for_timeout(1500)
    assert watched.page.url == (run / "report.html").as_uri()
    assert watched.page.title() == "Run run - resmfn report"
    assert watched.page.get_by_text(hostile).count() >= 3
    assert watched.said == []
    assert [url for url in watched.asked if not url.startswith(("data:", "blob:"))] == [watched.page.url]
    watched.page.close()


def test_a_watched_page_loads_itself_again_and_keeps_what_was_chosen(browser, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("resmfn.reports.watch.REFRESH_SECONDS", 5)
    run = make_run(tmp_path / "run", done=False)
    with ReportServer(run) as server:
        watched = Watched(browser, server.address)
        assert "50% done" in watched.page.inner_text("main")
        watched.set_slider("#level", 600)
        progress = (run / "progress.json").read_text()
        (run / "progress.json").write_text(progress.replace("0.5", "0.75"))
        watched.page.get_by_text("75% done", exact=False).first.wait_for(timeout=60_000)
        watched.page.wait_for_selector("html[data-ready=yes]")
        assert watched.page.locator("#level").input_value() == "600"
        assert watched.said == []
        assert {url for url in watched.asked if not url.startswith(("data:", "blob:"))} == {server.address}
        watched.page.close()


def test_the_scales_of_a_fit_follow_their_slider(browser, tmp_path) -> None:
    watched = Watched(browser, report(make_fit(tmp_path / "fit")).as_uri(), color_scheme="light")
    slider = "[data-scales]"
    for scale in (1, 3):
        watched.set_slider(slider, scale)
        shown = watched.page.locator("[data-scale]:not([hidden])")
        assert shown.count() == 1
        assert f"Scale {scale} of 3" in shown.inner_text()
        assert abs(watched.picture("[data-scale]:not([hidden]) figure:first-child img").mean() - 60 * scale) < 8
        assert watched.page.locator(slider).get_attribute("aria-valuetext") == f"scale {scale} of 3"
    assert watched.said == []
    watched.page.close()
