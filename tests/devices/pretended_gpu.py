"""A GPU that is not there: tensors that say they are on one, computed on the CPU, and errors where a real one has them.

A :class:`PretendedGpu` sees every call of PyTorch while it is entered. Tensors are tagged by where they would be;
``device`` and ``is_cuda`` answer by the tag, a call that mixes a tensor of the CPU with one of the GPU raises what
PyTorch raises, and so does NumPy on a tensor of the GPU. What no call of the mode has made (a gradient inside of a
backward pass) is taken to be on the GPU. So a missing ``.to(device)`` shows on a machine without one. Precision, speed
and memory of a GPU do not.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # looks at what is patched below, so it is imported before
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves, tree_map

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
PEAK_BYTES = 3 * 2**20
"""What it says that tensors took at most."""
_TAG = "pretended_device"
_TO_NUMPY = {Tensor.numpy, Tensor.__array__}
_FACTORIES = {torch.arange, torch.as_tensor, torch.empty, torch.eye, torch.full, torch.linspace, torch.ones}
_FACTORIES |= {torch.rand, torch.randint, torch.randn, torch.randperm, torch.tensor, torch.zeros}
_FACTORIES |= {torch.fft.fftfreq, torch.fft.rfftfreq}
_FROM_MEMORY = ("from_numpy", "frombuffer")
_PLACE_BLIND = {
    Tensor.copy_,
    Tensor.__setitem__,
    Tensor.__getitem__,
    Tensor.index_put_,
    Tensor.data.__set__,  # type: ignore[attr-defined]
    torch._has_compatible_shallow_copy_type,
}
"""May take tensors of the CPU: copies cross, and an index may lie on the CPU."""


def place_of(tensor: Tensor) -> torch.device:
    """Return where a tensor says that it is."""
    place: torch.device = tensor.__dict__.get(_TAG, GPU)
    return place


class PretendedGpu(TorchFunctionMode):
    """Context in which ``cuda`` is a device like any other."""

    def __enter__(self) -> PretendedGpu:
        self._patches = ExitStack()
        for name, answer in _ANSWERS.items():
            self._patches.enter_context(mock.patch(f"torch.cuda.{name}", answer))
        for name in _FROM_MEMORY:
            self._patches.enter_context(mock.patch(f"torch.{name}", _tagging(getattr(torch, name))))
        make = torch.Tensor._make_subclass
        subclass = staticmethod(lambda kind, data, *rest: _tag(make(kind, data, *rest), place_of(data)))
        self._patches.enter_context(mock.patch.object(torch.Tensor, "_make_subclass", subclass))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._patches.close()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (torch.device, torch._C._nn._parse_to):
            return func(*args, **kwargs)
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return place_of(args[0])
        if func == Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return place_of(args[0]).type == "cuda"
        if func in _TO_NUMPY and place_of(args[0]).type == "cuda":
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        place = self._place(func, args, kwargs)
        if func is Tensor.cuda:
            func, args = Tensor.clone, args[:1]
        if func is Tensor.pin_memory:
            return args[0]
        found = func(*tree_map(_on_cpu, args), **tree_map(_on_cpu, kwargs))
        if func == Tensor.data.__set__:  # type: ignore[attr-defined]
            _tag(args[0], place_of(args[1]))
        if isinstance(found, Tensor) and args and found is args[0] and place != place_of(found):
            found = found.clone()  # what moves is copied
        return tree_map(lambda leaf: _tag(leaf, place) if isinstance(leaf, Tensor) else leaf, found)

    def _place(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
        """Return where the result will be; raise where tensors of both places meet."""
        if func is Tensor.cpu:
            return CPU
        if func is Tensor.cuda:
            return GPU
        asked = _asked(func, args, kwargs)
        if asked is not None:
            return asked
        if func in _FACTORIES and not any(isinstance(leaf, Tensor) for leaf in tree_leaves((args, kwargs))):
            return CPU
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if func in _PLACE_BLIND and tensors:
            return place_of(tensors[0])
        places = {place_of(tensor) for tensor in tensors if tensor.dim() > 0 or func in (torch.cat, torch.stack)}
        if len(places) > 1:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found cuda:0 and cpu in {resolve_name(func)}"
            )
        if places:
            return places.pop()
        gpu = any(place_of(tensor).type == "cuda" for tensor in tensors)
        return GPU if gpu else CPU


def _asked(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device | None:
    """Return the device that a call names: by keyword, or, for ``to``, by position or by another tensor."""
    named = kwargs.get("device")
    if named is None and func is Tensor.to and len(args) > 1:
        other = args[1] if args[1:] else kwargs.get("other")
        if isinstance(other, Tensor):
            return place_of(other)
        named = other if isinstance(other, torch.device | str) else None
    return None if named is None else (GPU if torch.device(named).type == "cuda" else CPU)


def _on_cpu(value: Any) -> Any:
    """Return an argument as the CPU takes it."""
    if isinstance(value, torch.device) or (isinstance(value, str) and value.startswith("cuda")):
        return CPU
    return value


def _tag(tensor: Tensor, place: torch.device) -> Tensor:
    tensor.__dict__[_TAG] = place
    return tensor


def _tagging(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def tagged(*args: Any, **kwargs: Any) -> Tensor:
        return _tag(make(*args, **kwargs), CPU)

    return tagged


_ANSWERS: dict[str, Callable[..., Any]] = {
    "is_available": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "get_device_name": lambda device=None: "a pretended GPU",
    "is_initialized": lambda: True,
    "max_memory_allocated": lambda device=None: PEAK_BYTES,
    "get_device_properties": lambda device=None: mock.Mock(total_memory=80 * 2**30),
    "reset_peak_memory_stats": lambda device=None: None,
    "synchronize": lambda device=None: None,
    "empty_cache": lambda: None,
    "set_device": lambda device: None,
    "Stream": mock.MagicMock,
    "current_stream": mock.MagicMock,
    "stream": mock.MagicMock(),
}
