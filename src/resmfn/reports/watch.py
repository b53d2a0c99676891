"""Follow a run: its report, served to this computer only, and its state in a few words."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from resmfn.core import InputError, ResmfnError
from resmfn.reports.inputs import StrPath
from resmfn.reports.report import REFRESH_SECONDS, build_page
from resmfn.reports.run_record import RunRecord, read_run
from resmfn.reports.structure.confirmation import unconfirmed
from resmfn.reports.values import number, words

LOOPBACK = "127.0.0.1"
PATHS = ("/", "/report.html")
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class RunState:
    """A run in a few words."""

    stage: str
    message: str
    done: float
    seconds: float
    seconds_left: float | None
    resolution: float | None
    """Å, of the half maps at FSC 0.143, corrected for the mask: of the result, or of the last round before."""
    silent: float | None
    """Seconds since the run last gave a sign of life; None if it is done or never did."""
    is_done: bool
    doubt: str | None = None
    """Why the half maps of a finished run confirm no resolution, in two or three words; None where they do."""


def run_state(run: StrPath, *, now: float | None = None) -> RunState:
    """Return how far a run is.

    Parameters
    ----------
    run
        Run folder.
    now
        Unix time; None is now.

    Raises
    ------
    InputError
        If it is no run folder.
    """
    return describe_state(read_run(run), now=time.time() if now is None else now)


def describe_state(record: RunRecord, *, now: float) -> RunState:
    """Return the state of a run that was read."""
    progress, resolutions = record.progress, record.series("resolution")
    updated = number(progress, "updated")
    message = words(record.summary, "verdict", default="done") if record.is_done else words(progress, "message")
    last = resolutions[-1][1] if resolutions else None
    doubt = unconfirmed(record.summary, record.config, record.resolution, record.nyquist) if record.is_done else None
    return RunState(
        stage="done" if record.is_done else words(progress, "stage", default="not begun"),
        message=message,
        done=record.share_done,
        seconds=number(record.summary, "seconds") or number(progress, "seconds") or 0.0,
        seconds_left=record.seconds_left,
        resolution=record.resolution if record.is_done else last,
        silent=None if record.is_done or updated is None else max(0.0, now - updated),
        is_done=record.is_done,
        doubt=None if doubt is None else doubt.title.lower(),
    )


class ReportServer:
    """Serves the report of one run, and nothing else, to this computer only. Use as a context manager.

    Parameters
    ----------
    run
        Run folder.
    port
        0 takes a free one.

    Raises
    ------
    InputError
        If there is no such run, or the port is taken.
    """

    def __init__(self, run: StrPath, port: int = 0) -> None:
        read_run(run)
        self._pages = _FreshPage(Path(run))
        try:
            self._server = ThreadingHTTPServer((LOOPBACK, port), _handler(self._pages))
        except OSError as error:
            raise InputError(f"--port {port} cannot be used ({error.strerror}); give another, or 0 for any") from error
        except OverflowError:
            raise InputError(f"--port must lie between 0 and 65535, got {port}") from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{LOOPBACK}:{self.port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _FreshPage:
    """The report of a run, made anew when a file of the run has changed."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._state: object = None
        self._page = b""

    def read(self) -> bytes:
        with self._lock:
            state = self._files()
            if state != self._state:
                record = read_run(self._run)
                page = build_page(record, refresh=0 if record.is_done else REFRESH_SECONDS)
                self._page, self._state = page.encode(), state
            return self._page

    def _files(self) -> object:
        """Return names, sizes and times of the run's files; the page, the log and what is half written aside."""
        found = []
        for path in self._run.iterdir():
            if path.suffix in (".html", ".log", ".pt") or path.name.startswith("."):
                continue
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append((path.name, status.st_size, status.st_mtime_ns))
        return sorted(found)


def _handler(pages: _FreshPage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers GET and HEAD of the report."""

        server_version, sys_version = "resmfn", ""
        timeout = 20

        def do_GET(self) -> None:
            """Send the report."""
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            """Send its headers."""
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            if not self._is_asked_by_name():
                return self.send_error(HTTPStatus.FORBIDDEN, "This page is served to this computer only")
            if self.path.partition("?")[0] not in PATHS:
                return self.send_error(HTTPStatus.NOT_FOUND, "Only the report is served")
            try:
                body = pages.read()
            except (ResmfnError, OSError) as error:
                return self.send_error(
                    HTTPStatus.SERVICE_UNAVAILABLE, "The run cannot be read at the moment", str(error)
                )
            self.send_response(HTTPStatus.OK)
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)
            return None

        def _is_asked_by_name(self) -> bool:
            """Refuse names that another site may have pointed here (DNS rebinding)."""
            host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
            return host in (LOOPBACK, "localhost")

        def log_message(self, *_: object) -> None:
            """Keep the terminal for the run."""

    return Handler


def wait_for_end(
    run: StrPath, show: Callable[[RunState], None], *, interval: float, sleep: Callable[[float], None] = time.sleep
) -> RunState:
    """Show a run's state at intervals until it is done; return the last state.

    Parameters
    ----------
    run
        Run folder.
    show
        Called with each state.
    interval
        Seconds between updates.
    sleep
        Waits that long.
    """
    while True:
        state = run_state(run)
        show(state)
        if state.is_done:
            return state
        sleep(interval)
