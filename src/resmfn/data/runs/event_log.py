"""TensorBoard's event files, where TensorBoard is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class EventLog:
    """Scalars and histograms for TensorBoard; does nothing without a folder, or where TensorBoard is not installed."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def __enter__(self) -> Self:
        if self._folder is not None and find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, name: str, step: int, measures: Mapping[str, Sequence[float]]) -> None:
        """Add the measures of every scale under ``name/measure/scaleN``."""
        if self._writer is not None:
            for measure, values in measures.items():
                for i, value in enumerate(values, start=1):
                    self._writer.add_scalar(f"{name}/{measure}/scale{i}", torch.tensor(value), step)

    def add_epoch(self, epoch: int, values: Mapping[str, float], spreads: Mapping[str, Tensor]) -> None:
        """Add the figures of an epoch, and histograms of those that images have each."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, epoch)
            for name, spread in spreads.items():
                self._writer.add_histogram(name, spread, epoch)
