"""The frame around every command: help, errors in one line, exit codes."""

import errno
import os
import subprocess
import sys
import types
from collections.abc import Callable

import pytest

from resmfn import __version__
from resmfn.cli import main as cli
from resmfn.core.errors import InputError


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function from arguments to exit code, standard output and standard error."""

    def _run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return _run


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Return a function that gives the command ``probe`` a body."""

    def install(body: Callable[[], object]) -> None:
        def probe(number: int = 1, *, colour: str = "red") -> object:
            """Do what the test wants."""
            return body()

        module = types.ModuleType("resmfn.cli.probe")
        module.probe = probe
        monkeypatch.setitem(sys.modules, "resmfn.cli.probe", module)
        monkeypatch.setitem(cli.COMMANDS, "probe", "Do what the test wants.")

    return install


def raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def assert_one_line(err: str) -> None:
    assert err.count("\n") == 1, err
    assert err.startswith("resmfn: ")


def test_help_names_every_command(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for name in cli.COMMANDS:
        assert name in out


def test_no_arguments_is_help(run):
    code, out, _ = run()
    assert code == 0
    assert "Usage: resmfn COMMAND" in out


def test_version(run):
    assert run("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_has_help(command, run):
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: resmfn {command} ")


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_refuses_an_unknown_flag(command, run):
    code, out, err = run(command, "--no-such-flag-here", "1")
    assert (code, out) == (2, "")
    assert_one_line(err)
    assert "--no-such-flag-here" in err
    assert f"resmfn {command} --help" in err


@pytest.mark.parametrize("command", [command for command in cli.COMMANDS if command != "doctor"])
def test_every_command_names_what_is_missing(command, run):
    code, _, err = run(command)
    assert code == 2
    assert_one_line(err)


def test_an_unknown_command_suggests_the_nearest(run):
    code, out, err = run("reconstrct", "particles.star")
    assert (code, out) == (2, "")
    assert_one_line(err)
    assert "Did you mean reconstruct?" in err


def test_an_unknown_command_like_no_other_gets_the_list(run):
    code, _, err = run("zzz")
    assert code == 2
    assert "Choose from: " in err and "simulate, " in err


def test_an_unknown_top_level_flag_suggests_the_nearest(run):
    code, _, err = run("--versoin")
    assert code == 2
    assert "Did you mean --version?" in err


def test_a_mistyped_flag_suggests_the_nearest(run, probe):
    probe(lambda: None)
    code, _, err = run("probe", "--color", "blue")
    assert code == 2
    assert_one_line(err)
    assert "Did you mean --colour?" in err


def test_a_value_of_the_wrong_type_names_flag_and_value(run, probe):
    probe(lambda: None)
    code, _, err = run("probe", "--number", "many")
    assert code == 2
    assert_one_line(err)
    assert "--number" in err
    assert "many" in err


def test_success_is_0(run, probe):
    probe(lambda: "a result that is nobody's exit code")
    assert run("probe") == (0, "", "")


def test_a_command_may_choose_its_exit_code(run, probe):
    probe(lambda: 3)
    assert run("probe")[0] == 3


def test_an_error_of_ours_is_one_line_and_exit_2(run, probe):
    probe(raising(InputError("particles.star, row 7: no such stack\n  put it beside the STAR file")))
    code, out, err = run("probe")
    assert (code, out) == (2, "")
    assert err == "resmfn: particles.star, row 7: no such stack put it beside the STAR file\n"


def test_a_full_disk_is_one_line_and_exit_2(run, probe):
    probe(raising(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/map.mrc")))
    code, _, err = run("probe")
    assert code == 2
    assert err == "resmfn: out/map.mrc: No space left on device\n"


def test_an_interrupt_is_130(run, probe):
    probe(raising(KeyboardInterrupt()))
    code, _, err = run("probe")
    assert (code, err) == (130, "resmfn: interrupted\n")


def test_a_defect_keeps_its_traceback(run, probe):
    probe(raising(ValueError("a defect")))
    with pytest.raises(ValueError, match="a defect"):
        run("probe")


def test_a_reader_that_leaves_is_no_error():
    """As in ``resmfn fsc a.mrc b.mrc | head -1``: the output finds nobody, at the latest when it is flushed."""
    code = (
        "import sys, types; from resmfn.cli import main as cli\n"
        "module = sys.modules['resmfn.cli.probe'] = types.ModuleType('resmfn.cli.probe')\n"
        "def probe(): print('a line')\n"
        "module.probe = probe; cli.COMMANDS['probe'] = 'Print a line.'\n"
        "sys.exit(cli.main(['probe']))"
    )
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        result = subprocess.run(
            [sys.executable, "-c", code], stdout=gone, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (result.returncode, result.stderr) == (cli.EXIT_BROKEN_PIPE, "")


def test_the_module_is_the_command():
    result = subprocess.run([sys.executable, "-m", "resmfn", "simulat"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert_one_line(result.stderr)
    assert "Did you mean simulate?" in result.stderr
