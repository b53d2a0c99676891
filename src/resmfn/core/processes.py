"""Several processes at one reconstruction: each holds some of the images; only sums and poses travel.

Every process runs the same program. What images are read for (scores, statistics, poses) is computed where the images
are and summed; what is computed from the sums is computed everywhere alike, by one process for all, or in parts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from resmfn.core.errors import InputError, ResmfnError
from resmfn.core.machine import MEETING

Value = TypeVar("Value")
_PATIENCE = timedelta(hours=2)
"""Time that a process waits for the others, one of which may be fitting a large network for all."""

_MOST_EXCHANGED = 1 << 20
"""Bytes that a process sends at most to sum a tensor by one message to each other. Small ones take an eighth to a
quarter of the time of gloo's collective, which is nearly all waiting; of large ones the collective sends less."""


class LostProcessError(ResmfnError):
    """Another process of the run has gone."""


class Team:
    """The processes of a run.

    Parameters
    ----------
    rank, size
        Which of how many this is; (0, 1) is a process on its own, for which everything here does nothing.
    first, group
        Of a crew, some processes of the run that follow one another: the first one's rank in the run, and how
        torch.distributed calls them; None is all.
    shares_memory
        Whether all processes are known to be on one computer.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        *,
        first: int = 0,
        group: distributed.ProcessGroup | None = None,
        shares_memory: bool = False,
    ) -> None:
        self.rank, self.size = rank, size
        self.shares_memory = shares_memory or size == 1
        self._first, self._group = first, group
        self._crews: dict[int, list[Team | None]] = {}

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and talks to people."""
        return self.rank == 0

    def share_of(self, n: int) -> range:
        """Return which of n images this process holds: a block, the blocks as even as they can be."""
        return range(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def sum_(self, *tensors: Tensor) -> None:
        """Replace tensors by their sum over the processes, in place; the same everywhere to the last bit."""
        if self.size > 1:
            for tensor in tensors:
                real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
                with _told_plainly():
                    if real.is_cuda or real.nbytes * (self.size - 1) > _MOST_EXCHANGED:
                        distributed.all_reduce(real, group=self._group)
                    else:
                        self._exchange(real)

    def _exchange(self, tensor: Tensor) -> None:
        """Sum a small tensor, in place: each process sends all it has to all others, and adds up in the same order."""
        parts = tensor.new_empty(self.size, *tensor.shape)
        parts[self.rank] = tensor
        others = [rank for rank in range(self.size) if rank != self.rank]
        works = [distributed.isend(parts[self.rank], self._first + rank, group=self._group) for rank in others]
        works += [distributed.irecv(parts[rank], self._first + rank, group=self._group) for rank in others]
        for work in works:
            work.wait()  # type: ignore[union-attr]
        tensor.copy_(parts.sum(dim=0))

    def from_leader(self, value: Value) -> Value:
        """Return what the leading process has: any value whose tensors are on the CPU."""
        return self._from(0, value)

    def divide(self, tasks: Sequence[Callable[[Team], Value]]) -> list[Value]:
        """Let tasks be done by one process each and return all results everywhere; tensors in them on the CPU.

        What is left over when there are fewer tasks than processes is done together: each by a crew, a block of the
        processes. A task is told who does it, and must come to the same result in every process of a crew.
        """
        if self.size == 1:
            return [task(self) for task in tasks]
        n_single = len(tasks) - len(tasks) % self.size
        doers = [number % self.size for number in range(n_single)]
        mine = {number: tasks[number](Team()) for number in range(self.rank, n_single, self.size)}
        for number, crew in enumerate(self._crews_of(len(tasks) - n_single), start=n_single):
            doers.append(self._first_of(number - n_single, len(tasks) - n_single))
            if crew is not None:
                mine[number] = tasks[number](crew)
        return [self._from(doer, mine.get(number)) for number, doer in enumerate(doers)]  # type: ignore[misc]

    def _first_of(self, number: int, n_crews: int) -> int:
        return number * self.size // n_crews

    def _crews_of(self, n_crews: int) -> list[Team | None]:
        """Return the crews into which all processes are dealt; None stands for those that this one is not in."""
        if n_crews == 1:
            return [self]
        if n_crews not in self._crews:
            self._crews[n_crews] = [self._crew(number, n_crews) for number in range(n_crews)]
        return self._crews[n_crews]

    def _crew(self, number: int, n_crews: int) -> Team | None:
        members = range(self._first_of(number, n_crews), self._first_of(number + 1, n_crews))
        group = None
        if len(members) > 1:  # every process has to name a group, whether it is in it or not
            with _told_plainly():
                group = distributed.new_group(list(members), timeout=_PATIENCE)
        if self.rank not in members:
            return None
        return Team(self.rank - members.start, len(members), first=members.start, group=group)

    @contextmanager
    def refusing_together(self) -> Iterator[None]:
        """Let an error in one process end all of them: the leading one reports it, the others exit silently.

        Raises
        ------
        InputError
            In the leading process, if any process met one.
        SystemExit
            In the others, with exit code 2.
        """
        if self.size == 1:
            yield
            return
        refusal: InputError | None = None
        try:
            yield
        except InputError as error:
            refusal = error
        refusals: list[InputError | None] = [None] * self.size
        with _told_plainly():
            distributed.all_gather_object(refusals, refusal, group=self._group)
        for first in refusals:
            if first is not None and self.leads:
                raise first
            if first is not None:
                raise SystemExit(2)

    def _from(self, rank: int, value: Value) -> Value:
        if self.size == 1:
            return value
        box: list[Value] = [value]
        with _told_plainly():
            distributed.broadcast_object_list(box, src=self._first + rank, group=self._group)
        return box[0]


@contextmanager
def team_of_environment(device_name: str = "auto") -> Iterator[Team]:
    """Join the processes that a launcher such as ``torchrun``, or the command itself, has started; or be on one's own.

    The launcher says who is who by RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; processes that the
    command started on this computer meet by a file instead. With GPUs, each process takes the one of its LOCAL_RANK.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    gpu = device_name != "cpu" and torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    meeting = os.environ.get(MEETING)
    there: dict[str, Any] = {"init_method": f"file://{meeting}", "rank": int(os.environ["RANK"]), "world_size": size}
    with _told_plainly():
        backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
        distributed.init_process_group(backend, timeout=_PATIENCE, **(there if meeting else {}))
        distributed.all_reduce(torch.zeros(1))  # none leaves, refusing its input, while another still meets it
    try:
        yield Team(distributed.get_rank(), size, shares_memory=meeting is not None)
    finally:
        distributed.destroy_process_group()


@contextmanager
def _told_plainly() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # gloo and NCCL say no more than that a connection closed
        reason = str(error).strip().splitlines()[0]
        raise LostProcessError(
            f"another process of this run was lost ({reason}); the last checkpoint is intact: start all of them again "
            "with --resume"
        ) from error
