"""How many images are worked on at a time: fewer, once a device has run out of memory.

All that images add to a result is computed for a chunk of them first and added after, so that a chunk that did not
fit leaves no trace and is done again in halves. Sums then run in another order: what comes out is the same but for
rounding.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TypeVar

import torch
from torch import Tensor

from resmfn.core.errors import NoMemoryError

LEAST_IMAGES = 1
"""Smallest chunk; if it does not fit either, the run ends."""
ADVICE = (
    "free the memory that other programs hold and continue with --resume, or start again with a smaller --box-size, in "
    "several processes on several GPUs, or with --device cpu"
)
"""What to do when a GPU's memory is too small."""
ADVICE_CPU = (
    "free the memory that other programs hold and, for a run, continue with --resume; or use a smaller --box-size or "
    "fewer images"
)
"""What to do when the computer's memory is too small."""
_WORDS_OF_CPU = ("can't allocate memory", "not enough memory")
"""In the RuntimeError of PyTorch's allocator, which has no type of its own."""
Found = TypeVar("Found")


class ChunkedWork:
    """Goes through images in chunks, and remembers for each kind of work how large a chunk fits."""

    def __init__(self) -> None:
        self._share: dict[str, Fraction] = {}
        self.listener: Callable[[str], None] | None = None
        """Called with one line whenever chunks become smaller."""

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
        NoMemoryError
            Not even one image fits.
        """
        while len(rows):
            chunk = rows[: max(LEAST_IMAGES, int(size * self._share.get(what, 1)))]
            try:
                found = work(chunk)
            except (RuntimeError, MemoryError, OSError) as error:
                if not is_out_of_memory(error):
                    raise
                fits, advice = False, _advice(error)
            else:
                fits = True
            if not fits:  # out here, where the error no longer holds on to what was computed
                self._halve(what, len(chunk), size, advice)
                continue
            rows = rows[len(chunk) :]
            yield chunk, found

    def _halve(self, what: str, n: int, size: int, advice: str) -> None:
        if n <= LEAST_IMAGES:
            raise NoMemoryError(f"out of memory in {what} even with one image at a time: {advice}")
        self._share[what] = Fraction(n // 2, size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.listener is not None:
            self.listener(f"out of memory in {what} with {n} images at a time: continuing with {n // 2}")


@contextmanager
def refusing_when_out_of_memory() -> Iterator[None]:
    """Turn an out-of-memory error in work that cannot be divided into one line that says what to do."""
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise NoMemoryError(out_of_memory_text(error)) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that a GPU or the computer is out of memory."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    words = isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS_OF_CPU)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or words


def out_of_memory_text(error: BaseException) -> str:
    """Return the line that says what was asked for, and what to do."""
    asked = (str(error).splitlines() or [""])[0].rpartition("DefaultCPUAllocator: ")[2][:160]
    return f"out of memory ({asked or type(error).__name__}): {_advice(error)}"


def _advice(error: BaseException) -> str:
    return ADVICE if isinstance(error, torch.OutOfMemoryError) else ADVICE_CPU
