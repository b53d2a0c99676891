"""The folder of a run: its lock, log, metrics and checkpoint."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

import torch
import yaml

from resmfn.core import InputError, atomic_write
from resmfn.core.atomic import append_line
from resmfn.data.runs.file_names import CHECKPOINT, CONFIG, LOCK, LOG, METRICS, PREVIOUS
from resmfn.data.runs.folder_lock import FolderLock
from resmfn.data.runs.own_files import is_own, is_own_folder, remove_cut_off_files, remove_own_files
from resmfn.data.runs.plain_settings import read_settings

_SETTINGS = "settings of the run"
"""Where a checkpoint keeps the settings, should their own file be lost."""
_FORMAT = "format of the state"
"""Where a checkpoint keeps the version of what it holds; one without it is of the first."""
_MAY_DIFFER = {"flip_hand", "resume", "overwrite", "out", "device", "gpu_memory", "memory", "datadir"}
"""Settings that a resumed run may change."""


class RunSettings(Protocol):
    """A dataclass of settings, flags named as its fields are, that says where a run goes."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def out(self) -> Path:
        """The folder."""

    @property
    def resume(self) -> bool:
        """Whether to go on from its checkpoint."""

    @property
    def overwrite(self) -> bool:
        """Whether to replace a run that stands there."""


class RunFolder:
    """An open run folder; one process at a time. Use as a context manager.

    It is locked on entry and left unchanged until :meth:`begin`: input that is refused before then costs no earlier
    run, and leaves nothing behind.

    Raises
    ------
    InputError
        The folder exists and neither resume nor overwrite was asked for; it is not a run folder; another process
        writes it; or a run is resumed with other settings than it was begun with.
    """

    def __init__(self, config: RunSettings) -> None:
        self.path = Path(config.out)
        self.config = config
        self._lock = FolderLock(self.path)
        self._begun = False
        self._waiting: list[str] = []
        self._loaded: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        if self.path.exists() and not self._is_ours():
            raise InputError(f"--out {self.path} exists and is not a run folder; choose another name")
        if self._has_run() and not (self.config.resume or self.config.overwrite):
            raise InputError(
                f"--out {self.path} holds a run; give --resume to continue it, --overwrite, or another name"
            )
        self._lock.take()
        try:
            self._refuse_links()
            if self.config.overwrite:
                self._refuse_own_input()
            if self.config.resume and self.has_checkpoint:
                self._require_same_settings()
        except BaseException:
            self._lock.undo()
            raise
        return self

    def begin(self) -> None:
        """Claim the folder: write the settings; remove an earlier run, or metrics without a checkpoint."""
        remove_cut_off_files(self.path)
        if self.config.overwrite:
            remove_own_files(self.path)
        elif not (self.config.resume and self.has_checkpoint):
            self.keep_metrics(0)
        self._write_config()
        self._begun = True
        for line in self._waiting:
            append_line(self.path / LOG, line)

    def _refuse_links(self) -> None:
        """Refuse what would be written through a link; --overwrite takes it away instead."""
        there = sorted(self.path.iterdir()) if self.path.is_dir() else []
        linked = [path for path in there if path.name in (METRICS, LOG) or is_own_folder(path.name)]
        linked = [path for path in linked if path.is_symlink()]
        if linked and not self.config.overwrite:
            raise InputError(f"{linked[0]} is a symbolic link, and nothing is written through links; remove it")

    def _refuse_own_input(self) -> None:
        """Refuse to take away, with the run that stands there, what the new one is to read."""
        folder = self.path.resolve()
        for field in fields(self.config):
            given = getattr(self.config, field.name)
            paths = [
                value for value in (given if isinstance(given, tuple) else (given,)) if isinstance(value, str | Path)
            ]
            read = [path for path in paths if (folder in Path(path).resolve().parents) and field.name != "out"]
            if any(is_own(folder, Path(path).resolve()) for path in read):
                raise InputError(
                    f"--{field.name.replace('_', '-')} {read[0]} is part of the run that --overwrite would replace; "
                    "copy it elsewhere first, or choose another --out"
                )

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        refused = isinstance(value, (ValueError, OSError)) and not self.has_checkpoint
        if self._lock.made_folder and (refused or not self._begun):
            shutil.rmtree(self.path, ignore_errors=True)
        if not self._begun or (self._lock.made_folder and refused):
            self._lock.undo()
        self._lock.release()
        if self._begun and self.has_checkpoint and _is_full_disk(value):
            raise InputError(
                f"{value}: the disk is full. The last checkpoint is intact: free some space, and continue with --resume"
            ) from value

    @property
    def has_begun(self) -> bool:
        """Whether this run may write here."""
        return self._begun

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to go on from."""
        return any((self.path / name).exists() for name in (CHECKPOINT, PREVIOUS))

    def save(self, state: Mapping[str, Any], version: int = 1) -> None:
        """Replace the checkpoint, atomically; the one before it is kept beside it.

        Parameters
        ----------
        state
            Plain values and tensors.
        version
            Of the state's form; :meth:`load` takes no other.
        """
        stored = {**state, _SETTINGS: self._settings(), _FORMAT: version}
        content = io.BytesIO()
        torch.save(stored, content)  # to memory: a full disk is then an OSError
        last = self.path / CHECKPOINT
        with atomic_write(last) as temporary:
            temporary.write_bytes(content.getbuffer())
            if last.exists():
                last.replace(self.path / PREVIOUS)

    def load(self, version: int = 1) -> dict[str, Any] | None:
        """Return the last checkpoint if the run is to be resumed and there is one.

        If it is damaged (power failure, full disk), the one before it is used, and the log says so.

        Raises
        ------
        InputError
            There are checkpoints, and none can be read; or the last has another form than ``version``.
        """
        if not (self.config.resume and self.has_checkpoint):
            return None
        if self._loaded is None:
            self._loaded = self._read_checkpoint()
        state, self._loaded = self._loaded, None
        state.pop(_SETTINGS, None)
        found = state.pop(_FORMAT, 1)
        if found != version:
            raise InputError(
                f"{self.path} was begun by another version of resmfn (its checkpoint has format {found}, and this "
                f"version continues format {version}): finish it with that version, or start again with --overwrite"
            )
        return state

    def _read_checkpoint(self) -> dict[str, Any]:
        broken = []
        for name in (CHECKPOINT, PREVIOUS):
            if not (self.path / name).exists():
                continue
            try:
                state = torch.load(self.path / name, map_location="cpu", weights_only=True)
                if not isinstance(state, dict):
                    raise TypeError(f"it holds a {type(state).__name__}")
            except Exception:  # PyTorch's words would advise to run the code that may be in it
                broken.append(f"{self.path / name} cannot be read: it is damaged, or holds code")
                continue
            if broken:
                self.log(f"resume: {broken[0]}; continuing from the checkpoint before it")
            return state
        raise InputError(f"{'; '.join(broken)}; start again with --overwrite")

    def record(self, **values: object) -> None:
        """Append one line to the metrics."""
        append_line(self.path / METRICS, json.dumps(values, allow_nan=False) + "\n")

    def log(self, message: str) -> None:
        """Append one line to the log, with the time."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {message}\n"
        if self._begun:
            append_line(self.path / LOG, line)
        else:
            self._waiting.append(line)

    def metrics(self) -> list[dict[str, Any]]:
        """Return what :meth:`record` has recorded."""
        return [json.loads(line) for line in self._whole_metrics()]

    def count_metrics(self) -> int:
        """Return how many metrics are recorded."""
        return len(self._whole_metrics())

    def _whole_metrics(self) -> list[str]:
        """Return the lines that were written to their end: a full disk, or no power, may have cut the last."""
        path = self.path / METRICS
        lines = path.read_text(errors="replace").splitlines(keepends=True) if path.exists() else []
        whole = []
        for line in lines:
            try:
                json.loads(line)
            except ValueError:
                break
            if not line.endswith("\n"):
                break
            whole.append(line)
        return whole

    def keep_metrics(self, n: int) -> None:
        """Drop the metrics after the first n: those that the checkpoint does not know of."""
        path = self.path / METRICS
        if path.exists():
            lines = self._whole_metrics()[:n]
            if len(lines) < n:
                self.log(f"resume: {path} has lost {n - len(lines)} of its lines; the result does not depend on them")
            with atomic_write(path) as temporary:
                temporary.write_text("".join(lines))

    def write_json(self, name: str, values: Mapping[str, object]) -> None:
        """Write a JSON file."""
        with atomic_write(self.path / name) as temporary:
            temporary.write_text(json.dumps(values, indent=1) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        with atomic_write(self.path / name) as temporary:
            temporary.write_text(text)

    def _is_ours(self) -> bool:
        if not self.path.is_dir():
            return False
        # config.yaml is a name that other programs use too: one of ours says where its run went.
        return self._has_run() or all(path.name in (LOCK, LOG) for path in self.path.iterdir())

    def _has_run(self) -> bool:
        return "out" in settings_of(self.path) or ((self.path / CONFIG).exists() and self.has_checkpoint)

    def _settings(self) -> dict[str, object]:
        # Absolute, so that the file says the same wherever it is read from.
        plain = {k: os.fspath(v.absolute()) if isinstance(v, Path) else v for k, v in asdict(self.config).items()}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}

    def _write_config(self) -> None:
        self.write_text(CONFIG, yaml.safe_dump(self._settings(), sort_keys=False))

    def _settings_before(self) -> dict[str, Any]:
        """Return the settings that the run was begun with; those in the checkpoint if their file is broken."""
        before = settings_of(self.path)
        if "out" in before:
            return before
        self._loaded = self._read_checkpoint()
        if _SETTINGS not in self._loaded:
            raise InputError(f"{self.path / CONFIG} holds no settings; start again with --overwrite")
        self.log(f"resume: {self.path / CONFIG} was damaged; its settings were restored from the checkpoint")
        found: dict[str, Any] = self._loaded[_SETTINGS]
        return found

    def _require_same_settings(self) -> None:
        before = self._settings_before()
        # A run begun before a setting existed had what is its default now.
        before = {f.name: f.default for f in fields(self.config) if f.default is not MISSING} | before
        for name, value in self._settings().items():
            if isinstance(getattr(self.config, name), Path) and before.get(name) is not None:
                before[name] = os.fspath(Path(str(before[name])).absolute())  # runs begun earlier have them as given
            if name not in _MAY_DIFFER and before.get(name) != value:
                flag = "--" + name.replace("_", "-")
                raise InputError(
                    f"{self.path} was begun with {flag} {before.get(name)}, not {value}; resume with the original "
                    "settings, or start again with --overwrite"
                )


def settings_of(folder: Path) -> dict[str, Any]:
    """Return the settings that a run folder holds; none where it holds none that can be read."""
    try:
        return read_settings(folder / CONFIG)
    except InputError:
        return {}


def classes_share_frame(run: Path) -> bool:
    """Say whether the poses of all classes of a run, or of its particles.star, are in one frame and of one hand.

    Local states of one structure are; classes of a search, each of which has its own map from random poses, are not.
    """
    return bool(settings_of(run if run.is_dir() else run.parent).get("local_states"))


def _is_full_disk(error: BaseException | None) -> bool:
    """Say whether an error, or what it was raised from, is that nothing more can be written."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            return True
        error = error.__cause__
    return False
