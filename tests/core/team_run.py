"""Run something in several processes that form a team, forked from one that has imported everything.

As a program: ``python team_run.py WHAT SIZE PORT ARGUMENTS``, ARGUMENTS in JSON. WHAT is ``check``, which tries each
way in which values travel, or ``command``, the ``resmfn`` command with ARGUMENTS["tokens"], in which process
ARGUMENTS["victim"], if given, kills itself at its second save, and ARGUMENTS["boxes"] are those that a run may grow to.
Prints how each process ended, in order.
"""

import json
import os
import sys
from copy import copy
from functools import partial

import torch

from reconstruction.killed_run import die, on_call  # its import shortens runs
from reconstruction.maps.test_network_map import draw, problem
from resmfn.cli.main import main
from resmfn.core import InputError
from resmfn.core.processes import Team, team_of_environment
from resmfn.reconstruction.phases import halves
from resmfn.reconstruction.run import box_plan


def check(_: dict) -> int:
    with team_of_environment("cpu") as team:
        _check_sums(team)
        _check_values(team)
        _check_fits(team)
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
    for length in (1000, 400_000):  # small ones go straight from each to each, large ones by the collective
        parts = torch.randn(size, length, generator=torch.Generator().manual_seed(length))
        summed = parts[team.rank].clone()
        team.sum_(summed)
        torch.testing.assert_close(summed, parts.sum(dim=0))
        assert torch.equal(team.from_leader(summed), summed)


def _check_values(team: Team) -> None:
    assert team.from_leader({"rank": team.rank, "tensor": torch.arange(3)})["rank"] == 0
    for n_tasks in range(7):
        _check_tasks(team, n_tasks)


def _check_tasks(team: Team, n_tasks: int) -> None:
    """Each task is done once: by one process, or by a crew when fewer tasks than processes are left."""
    done: list[tuple[int, int]] = []

    def task(number: int, crew: Team) -> list[int]:
        members = torch.zeros(team.size, dtype=torch.int64)
        members[team.rank] = 1
        crew.sum_(members)
        done.append((number, crew.size))
        assert crew.from_leader(members.tolist()) == members.tolist()
        return members.nonzero()[:, 0].tolist()

    found = team.divide([partial(task, number) for number in range(n_tasks)])
    n_left = n_tasks % team.size
    alone = [[number % team.size] for number in range(n_tasks - n_left)]
    together = [list(range(crew * team.size // n_left, (crew + 1) * team.size // n_left)) for crew in range(n_left)]
    assert found == alone + together
    assert done == [(number, len(doers)) for number, doers in enumerate(found) if team.rank in doers]


def _check_fits(team: Team) -> None:
    """A network that processes fit together is the one that a single process fits, and the same in all of them."""
    one, (equations, mask, prior) = draw(), problem()
    shared = copy(equations)
    shared.team = team
    kernel = equations.penalized(prior)
    torch.testing.assert_close(shared.apply(mask, kernel), equations.apply(mask, kernel), rtol=1e-4, atol=1e-3)
    both = one.copy()
    reached = one.fit(equations, mask, prior, steps=12)
    together = both.fit(shared, mask, prior, steps=12)
    assert abs(together - reached) < 1e-4
    with torch.no_grad():
        mine, alone = both.decode(equations.grid), one.decode(equations.grid)
        parts = both.decode(equations.grid, part=(team.rank, team.size))
        team.sum_(parts)
        torch.testing.assert_close(parts, mine, rtol=1e-4, atol=1e-5)
    assert float((mine - alone).norm() / alone.norm()) < 1e-3
    for parameter in both.network.parameters():
        assert torch.equal(team.from_leader(parameter.detach()), parameter)


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
        on_call(halves, "insert_images", 2, before=die)
    if "boxes" in arguments:
        box_plan.SIZES, box_plan.WORTH = tuple(arguments["boxes"]), 1.0
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
