"""Training steps: whose loss, whose parameters, when; the same numbers however the work is cut up."""

import math
from dataclasses import replace

import pytest
import torch

from resmfn.core import ShapeError
from resmfn.fitting import trainer as trainer_module
from resmfn.fitting.network_stack import NetworkStack
from resmfn.fitting.trainer import Trainer, TrainingPlan
from resmfn.networks import VARIANTS

EPOCHS = 8


def plan_of(variant, **settings):
    starts = (0, 2, 5) if VARIANTS[variant].staged else (0, 0, 0)
    return TrainingPlan(variant=VARIANTS[variant], starts=starts, epochs=EPOCHS, **settings)


@pytest.fixture
def make(network, target):
    """Return a maker of trainers of small networks on a small picture."""

    def _make(variant="residual-mfn", seeds=(1,), plan=None, double=True, **settings):
        fit = target()
        networks = [network(variant, seed) for seed in seeds]
        values = torch.stack([fit.train.values * (1 + 0.1 * s) for s in seeds])
        coords = fit.train.coords
        if not double:
            networks, values, coords = (
                [n.to(torch.float32) for n in networks],
                values.to(torch.float32),
                coords.to(torch.float32),
            )
        return Trainer(NetworkStack(networks), coords, values, plan or plan_of(variant), **settings)

    return _make


def weights(trainer):
    return [p.detach().clone() for p in trainer.stack.parameters()]


def moved(before, after):
    return [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_training_is_plain_adam_on_the_variants_loss(make, variant):
    """The textbook loop, with no cache, no stack, no chunks: the same weights to round-off."""
    trainer = make(variant)
    single, fit = make(variant).stack.networks[0], trainer
    parameters = [p for layer in (*single.linears, *single.heads) for p in layer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=5e-3)
    coords, values = torch.cat(list(fit._coords)), torch.cat(fit._values, dim=1)[0]
    chosen, plan = VARIANTS[variant], trainer.plan
    for epoch in range(EPOCHS):
        optimizer.zero_grad()
        outputs = single.outputs(coords, plan.active_scales(epoch), detach_finished=chosen.detach_finished)
        losses = [(y - values).square().mean() for y in outputs]
        (torch.stack(losses).sum() if chosen.loss == "all" else losses[-1]).backward()
        optimizer.step()
    trainer.advance(EPOCHS)
    (trained,) = trainer.stack.write_back()
    torch.testing.assert_close(trained(coords), single(coords), rtol=1e-9, atol=1e-9)


def test_scales_that_are_not_active_yet_do_not_move_and_all_earlier_ones_do(make):
    trainer = make("residual-mfn")
    before = weights(trainer)
    trainer.advance(2)  # linears 1 2 3 without bias, then weight and bias of heads 1 2 3
    assert moved(before, weights(trainer)) == [True, False, False, True, True, False, False, False, False]
    before = weights(trainer)
    trainer.advance(3)
    assert moved(before, weights(trainer)) == [True, True, False, True, True, True, True, False, False]
    before = weights(trainer)
    trainer.advance(1)
    assert moved(before, weights(trainer)) == [True] * 9


def test_a_fair_finished_scale_moves_its_head_alone(make):
    """Features are those of the staged training; the finished heads keep up with them."""
    staged, fair = make("staged"), make("staged-fair")
    for trainer in (staged, fair):
        trainer.advance(EPOCHS)
    linears_staged, linears_fair = weights(staged)[:6], weights(fair)[:6]
    assert not any(moved(linears_staged, linears_fair))
    assert moved(weights(staged)[6:], weights(fair)[6:]) == [True] * 4 + [False] * 2


def test_several_networks_train_as_each_would_alone(make):
    together = make(seeds=(1, 2, 3))
    together.advance(EPOCHS)
    for b, seed in enumerate((1, 2, 3)):
        alone = make(seeds=(seed,))
        alone.advance(EPOCHS)
        for a, b_all in zip(weights(alone), weights(together), strict=True):
            torch.testing.assert_close(a[0], b_all[b], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("chunk_numbers", [10, 999])
def test_chunks_and_filters_computed_anew_change_nothing(make, monkeypatch, chunk_numbers):
    whole = make(seeds=(1, 2))
    whole.advance(EPOCHS)
    monkeypatch.setitem(trainer_module.CACHE_NUMBERS, "cpu", 1)
    pieces = make(seeds=(1, 2), chunk_numbers=chunk_numbers)
    pieces.advance(EPOCHS)
    assert pieces._caches is None
    for a, b in zip(weights(whole), weights(pieces), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


def test_a_training_that_is_taken_up_again_gives_the_same_bits(make):
    whole, first, second = make("staged-fair"), make("staged-fair"), make("staged-fair")
    whole.advance(EPOCHS)
    first.advance(3)
    second.load_state(first.state())
    second.advance(EPOCHS - 3)
    assert second.epoch == EPOCHS
    assert not any(moved(weights(whole), weights(second)))


def test_the_rate_falls_to_zero_along_a_cosine_or_stays():
    plan = plan_of("residual-mfn", lr=0.1, lr_schedule="cosine")
    assert plan.learning_rate(0) == 0.1
    assert plan.learning_rate(EPOCHS // 2) == pytest.approx(0.05)
    assert 0 < plan.learning_rate(EPOCHS - 1) < 0.01
    assert replace(plan, lr_schedule="constant").learning_rate(EPOCHS - 1) == 0.1


def test_the_rate_settles_over_the_last_epochs_alone():
    plan = replace(plan_of("residual-mfn", lr=0.1, lr_schedule="settle"), epochs=1000)
    assert plan.learning_rate(970) == 0.1
    assert plan.learning_rate(985) == pytest.approx(0.05)
    assert 0 < plan.learning_rate(999) < 0.001


def test_the_rate_of_the_plan_is_the_optimizers(make):
    trainer = make(plan=plan_of("residual-mfn", lr=0.01, lr_schedule="cosine"))
    trainer.advance(EPOCHS)
    expected = 0.01 * (1 + math.cos(math.pi * (EPOCHS - 1) / EPOCHS)) / 2
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def test_a_compiled_step_is_the_same_step(make):
    plain, compiled = make(), make(compile_backend="aot_eager")
    for trainer in (plain, compiled):
        trainer.advance(EPOCHS)
    for a, b in zip(weights(plain), weights(compiled), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.cuda
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")  # PyTorch 2.11's compiler: its own
@pytest.mark.parametrize("compile_backend", [None, "inductor"])
def test_a_captured_step_on_a_gpu_is_the_same_step(make, network, target, compile_backend):
    on_cpu = make()
    on_cpu.advance(EPOCHS)
    fit, cuda = target(), torch.device("cuda")
    values = (fit.train.values * 1.1)[None].to(cuda)
    stack = NetworkStack([network(seed=1).to(cuda)])
    plan = replace(plan_of("residual-mfn"), epochs=EPOCHS)
    on_gpu = Trainer(stack, fit.train.coords.to(cuda), values, plan, compile_backend=compile_backend)
    on_gpu.advance(EPOCHS)
    for a, b in zip(weights(on_cpu), weights(on_gpu), strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-6, atol=1e-8)


def test_values_must_fit_points_and_networks(make, network, target):
    fit = target()
    with pytest.raises(ShapeError, match="values must have shape"):
        Trainer(NetworkStack([network()]), fit.train.coords, fit.train.values, plan_of("staged"))
