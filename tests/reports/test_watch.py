"""Watching: what is served, to whom, and what a terminal says."""

import http.client
import io
import json
import socket

import pytest
from rich.console import Console

from reports.example_run import make_run
from resmfn.cli.watch import _table
from resmfn.core import InputError
from resmfn.reports.watch import ReportServer, run_state, wait_for_end


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ReportServer(make_run(tmp_path_factory.mktemp("watch") / "run", done=False)) as running:
        yield running


def ask(server: ReportServer, path: str, method: str = "GET", host: str | None = None) -> tuple[int, bytes, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


def test_the_report_is_served_and_never_stored(server) -> None:
    status, body, headers = ask(server, "/")
    assert status == 200
    assert b"50% done" in body
    assert headers["Cache-Control"] == "no-store"
    assert ask(server, "/report.html?x=1")[0] == 200
    assert ask(server, "/", "HEAD")[:2] == (200, b"")


@pytest.mark.parametrize(
    "path", ["/config.yaml", "/preview.mrc", "/../config.yaml", "/%2e%2e/config.yaml", "//etc/passwd"]
)
def test_nothing_else_is_served(server, path) -> None:
    status, body, _ = ask(server, path)
    assert status == 404
    assert b"p.star" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_sent(server, method) -> None:
    assert ask(server, "/", method)[0] == 501


def test_only_this_computer_is_answered(server) -> None:
    assert ask(server, "/", host="evil.example")[0] == 403
    assert ask(server, "/", host=f"localhost:{server.port}")[0] == 200
    assert server.address.startswith("http://127.0.0.1:")
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in others:
        if not address.startswith("127."):
            with pytest.raises(OSError):
                socket.create_connection((address, server.port), timeout=5)


def test_the_page_follows_the_run_and_survives_a_broken_file(tmp_path) -> None:
    run = make_run(tmp_path / "run", done=False)
    with ReportServer(run) as server:
        assert b"round 2" in ask(server, "/")[1]
        text = (run / "progress.json").read_text()
        (run / "progress.json").write_text(text.replace("round 2", "round 13"))
        assert b"round 13" in ask(server, "/")[1]
        (run / "progress.json").write_text("{")
        assert ask(server, "/")[0] == 503
    with pytest.raises(OSError):
        ask(server, "/")  # it has ended


def test_a_port_that_is_taken_is_an_error_of_one_line(server, tmp_path) -> None:
    run = make_run(tmp_path / "run", done=False)
    with pytest.raises(InputError, match=f"--port {server.port} cannot be used"):
        ReportServer(run, server.port)
    with pytest.raises(InputError, match="between 0 and 65535"):
        ReportServer(run, 70000)
    with pytest.raises(InputError, match="no such run folder"):
        ReportServer(tmp_path / "none")


def test_a_state_says_how_far_a_run_is(tmp_path) -> None:
    state = run_state(make_run(tmp_path / "going", done=False), now=1030.0)
    assert (state.stage, state.done, state.seconds, state.seconds_left) == ("halves", 0.5, 60.0, 60.0)
    assert (state.resolution, state.silent, state.is_done) == (10.0, 30.0, False)
    state = run_state(make_run(tmp_path / "done"))
    assert (state.stage, state.done, state.resolution, state.silent, state.is_done) == ("done", 1.0, 6.9, None, True)


def test_waiting_ends_with_the_run(tmp_path) -> None:
    run, seen = make_run(tmp_path / "run", done=False), []

    def sleep(_: float) -> None:
        (run / "summary.json").write_text(json.dumps({"verdict": "half maps agree"}))

    assert wait_for_end(run, seen.append, interval=1.0, sleep=sleep).message == "half maps agree"
    assert [state.is_done for state in seen] == [False, True]


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        ({}, "6.90 Å"),
        ({"structure_found": False, "verdict": "no structure found"}, "none: no structure found"),
        ({"resolution_split": 6.0}, "none: not resolved"),
        ({"resolution_split": None}, "none: not confirmed"),
        ({"resolution_half_0143": None}, "none: not resolved"),
    ],
)
def test_a_resolution_that_is_not_confirmed_is_not_shown(tmp_path, summary, said) -> None:
    run = make_run(tmp_path / "run", **summary)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(_table(run_state(run)))
    (row,) = (line for line in console.export_text().splitlines() if line.startswith("resolution"))
    assert said in row
    if summary:
        assert " Å" not in row
