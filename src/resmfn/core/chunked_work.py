"""How many images are worked on at a time: fewer, once a device has run out of memory.

All that images add to a result is computed for a chunk of them first and added after, so that a chunk that did not
fit leaves no trace and is done again in halves. Sums then run in another order: what comes out is the same but for
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TypeVar

import torch
from torch import Tensor

from resmfn.core.errors import InputError

LEAST_IMAGES = 1
"""At a time; if that is too much, the run ends."""
ADVICE = (
    "free the memory that other programs hold and go on with --resume, or start again with a smaller --box-size, in "
    "several processes on several GPUs, or with --device cpu"
)
"""What to do where memory does not suffice."""
Found = TypeVar("Found")


class ChunkedWork:
    """Goes through images in chunks; remembers of every kind of work what share of its chunks fits."""

    def __init__(self) -> None:
        self._share: dict[str, Fraction] = {}
        self.listener: Callable[[str], None] | None = None
        """Told in a line whenever chunks become smaller."""

    def __call__(
        self, what: str, rows: Tensor, size: int, work: Callable[[Tensor], Found]
    ) -> Iterator[tuple[Tensor, Found]]:
        """Yield every chunk of ``rows`` (n,), and what ``work`` made of it.

        Parameters
        ----------
        what
            Name of the work, as in "out of memory in ...".
        rows
            int64 (n,).
        size
            Rows of a chunk, if they fit.
        work
            Computes; must add to nothing that outlives it, for it is called again, with fewer rows, if memory runs
            out in it.

        Raises
        ------
        InputError
            Not even one image fits.
        """
        while len(rows):
            chunk = rows[: max(LEAST_IMAGES, int(size * self._share.get(what, 1)))]
            try:
                found = work(chunk)
            except torch.OutOfMemoryError:
                fits = False
            else:
                fits = True
            if not fits:  # out here, where the error no longer holds on to what was computed
                self._halve(what, len(chunk), size)
                continue
            rows = rows[len(chunk) :]
            yield chunk, found

    def _halve(self, what: str, n: int, size: int) -> None:
        if n <= LEAST_IMAGES:
            raise InputError(f"out of memory in {what} even with one image at a time: {ADVICE}")
        self._share[what] = Fraction(n // 2, size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.listener is not None:
            self.listener(f"out of memory in {what} with {n} images at a time: going on with {n // 2}")


@contextmanager
def refusing_when_out_of_memory() -> Iterator[None]:
    """Say in a line what to do where memory runs out in what cannot be cut into smaller chunks."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(f"out of memory ({str(error).splitlines()[0][:160]}): {ADVICE}") from None
