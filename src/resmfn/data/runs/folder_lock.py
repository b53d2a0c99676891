"""One process at a time writes a run folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from resmfn.core import InputError
from resmfn.core.atomic import open_plain
from resmfn.data.runs.file_names import LOCK


class FolderLock:
    """A lock on a folder that ends with the process; taking it creates only the file ``.lock``.

    Parameters
    ----------
    folder
        The folder; created if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None
        self._made: list[Path] = []

    @property
    def made_folder(self) -> bool:
        """Whether the folder was made for the lock."""
        return self._folder in self._made

    def take(self) -> None:
        """Take the lock.

        Raises
        ------
        InputError
            Another process has it, the folder cannot be made, or ``.lock`` is a link.
        """
        lock = self._folder / LOCK
        try:
            self._make_folder()
            if not os.path.lexists(lock):
                self._made.append(lock)
            self._descriptor = open_plain(lock, os.O_RDWR)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self._descriptor), lock.stat()):  # taken away by one that was refused
                raise BlockingIOError
        except BlockingIOError:
            self.release()
            raise InputError(
                f"another process is writing {self._folder}; wait for it, or choose another --out"
            ) from None
        except OSError as error:
            self.undo()
            raise InputError(
                f"cannot make the run folder {self._folder}: {error.strerror}; choose another --out"
            ) from None
        except InputError:
            self.undo()
            raise

    def release(self) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def undo(self) -> None:
        """Remove what was created for the lock, if it holds nothing else, and release it."""
        for path in reversed(self._made):
            try:
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
            except OSError:
                break
        self.release()

    def _make_folder(self) -> None:
        missing = [path for path in (self._folder, *self._folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            self._made.append(path)
