"""Run something in several processes that form a team, forked from one that has imported everything.

As a program: ``python team_run.py WHAT SIZE PORT ARGUMENTS``, ARGUMENTS in JSON. WHAT is ``check``, which tries each
way in which values travel, or ``command``, the ``resmfn`` command with ARGUMENTS["tokens"], in which process
ARGUMENTS["victim"], if given, kills itself at its second save. Prints how each process ended, in order.
"""

import json
import os
import sys

import torch

from reconstruction.killed_run import die, on_call  # its import shortens runs
from resmfn.cli.main import main
from resmfn.core import InputError
from resmfn.reconstruction import rounds
from resmfn.reconstruction.team import Team, team_of_environment


def check(_: dict) -> int:
    with team_of_environment("cpu") as team:
        _check_sums(team)
        _check_values(team)
        _check_refusals(team)
    return 0


def _check_sums(team: Team) -> None:
    real = torch.full((2,), float(team.rank + 1))
    whole = torch.full((3,), team.rank, dtype=torch.int64)
    pair = torch.full((2,), complex(1, team.rank), dtype=torch.complex64)
    team.sum_(real, whole, pair)
    size = team.size
    assert real.tolist() == [size * (size + 1) / 2] * 2
    assert whole.tolist() == [size * (size - 1) // 2] * 3
    assert pair.tolist() == [complex(size, size * (size - 1) / 2)] * 2


def _check_values(team: Team) -> None:
    assert team.from_leader({"rank": team.rank, "tensor": torch.arange(3)})["rank"] == 0
    done: list[int] = []

    def task(number: int) -> int:
        done.append(number)
        return number * number

    found = team.divide([lambda number=number: task(number) for number in range(5)])
    assert found == [0, 1, 4, 9, 16]
    assert done == list(range(team.rank, 5, team.size))  # each task by one process only


def _check_refusals(team: Team) -> None:
    with team.refusing_together():
        pass
    try:
        with team.refusing_together():
            if team.rank == team.size - 1:
                raise InputError("row 7 is bad")
    except InputError as error:
        assert team.leads and str(error) == "row 7 is bad"
    except SystemExit as leaving:
        assert not team.leads and leaving.code == 2
    else:
        raise AssertionError("one was refused, another went on")


def command(arguments: dict) -> int:
    if arguments.get("victim") == int(os.environ["RANK"]):
        on_call(rounds, "insert_images", 2, before=die)
    return main(arguments["tokens"])


def member(rank: int, size: int, port: str, what: str, arguments: dict) -> int:
    """Run in a forked process; return its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        torch.set_num_threads(1)
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()})
        code = {"check": check, "command": command}[what](arguments)
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    program, number, free_port, given = sys.argv[1], int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
    members = [member(rank, number, free_port, program, given) for rank in range(number)]
    print("ended", *(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in members))
