"""When a captured step is run, recorded and replayed: on a CPU, with a graph that counts in place of CUDA's."""

from contextlib import contextmanager, nullcontext

import pytest
import torch

from resmfn.core.captured_step import EAGER_STEPS, CapturedStep


class Stream:
    """Orders nothing."""

    def wait_stream(self, _: object) -> None:
        """Everything is done already."""


class Recorder:
    """Takes the step while a graph is recorded: only a replay may count."""

    def __init__(self, *, fails: bool) -> None:
        self.fails, self.recording, self.done = fails, False, []

    def step(self) -> None:
        if self.recording and self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        if not self.recording:
            self.done.append("run")

    def replay(self) -> None:
        self.done.append("replay")

    @contextmanager
    def graph(self, _: object):
        self.recording = True
        try:
            yield
        finally:
            self.recording = False


@pytest.mark.parametrize("fails", [False, True])
def test_each_call_is_one_step_whether_capture_works_or_not(monkeypatch, fails) -> None:
    recorder = Recorder(fails=fails)
    fakes = {"Stream": Stream, "current_stream": Stream, "stream": lambda _: nullcontext()}
    fakes |= {"CUDAGraph": lambda: recorder, "graph": recorder.graph, "synchronize": lambda: None}
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    step = CapturedStep(recorder.step)
    for _ in range(EAGER_STEPS + 4):
        step()
    assert recorder.done == ["run"] * EAGER_STEPS + ["run" if fails else "replay"] * 4


def test_other_mistakes_are_not_swallowed(monkeypatch) -> None:
    recorder = Recorder(fails=False)
    for name, fake in {"Stream": Stream, "CUDAGraph": lambda: recorder, "graph": recorder.graph}.items():
        monkeypatch.setattr(torch.cuda, name, fake)

    def step() -> None:
        raise TypeError("a defect")

    captured = CapturedStep(step)
    captured._eager_left = 0
    with pytest.raises(TypeError, match="a defect"):
        captured()
