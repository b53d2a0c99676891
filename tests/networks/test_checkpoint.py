import pickle

import pytest
import torch

from resmfn.core.errors import InputError
from resmfn.networks import (
    MultiplicativeFilterNetwork,
    NetworkConfig,
    load_network,
    network_from_state,
    network_state,
    save_network,
)

KINDS = [{}, {"residual": False, "init": "old", "out_dim": 3}, {"filter": "gabor", "quantized": False, "n_scales": 1}]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_comes_back_bit_for_bit(make, tmp_path, kind, dtype):
    network = make(dtype=dtype, lambdas=(0.5, 1.5), **kind)
    save_network(tmp_path / "net.pt", network)
    back = load_network(tmp_path / "net.pt")
    assert back.config == network.config
    assert back.dtype == dtype
    assert back.state_dict().keys() == network.state_dict().keys()
    assert all(torch.equal(v, back.state_dict()[name]) for name, v in network.state_dict().items())
    assert torch.equal(back.evaluate_grid(size=9), network.evaluate_grid(size=9))
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt"]


def test_state_of_one_seed_loads_into_another(make, points):
    a, b = make(seed=1), make(seed=2)
    b.load_state_dict(a.state_dict())
    x = points(2)
    assert torch.equal(a(x), b(x))


def test_a_state_is_a_copy(make):
    network = make()
    state = network_state(network)
    before = network_from_state(state).evaluate_grid(1)
    with torch.no_grad():
        network.linears[0].weight.zero_()
    assert torch.equal(network_from_state(state).evaluate_grid(1), before)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("write", [torch.save, lambda obj, path: path.write_bytes(pickle.dumps(obj))])
def test_pickled_code_is_refused_and_never_runs(make, tmp_path, write):
    state = {**network_state(make()), "extra": Bomb(tmp_path / "ran")}
    write(state, tmp_path / "net.pt")
    with pytest.raises(InputError, match=r"net.pt is not a readable network checkpoint"):
        load_network(tmp_path / "net.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"particles", b"\x00" * 500])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "net.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"net.pt is not a readable network checkpoint"):
        load_network(tmp_path / "net.pt")


def test_a_truncated_checkpoint_is_refused(make, tmp_path):
    save_network(tmp_path / "net.pt", make())
    whole = (tmp_path / "net.pt").read_bytes()
    (tmp_path / "net.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable network checkpoint"):
        load_network(tmp_path / "net.pt")


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no network checkpoint at .*net.pt"):
        load_network(tmp_path / "net.pt")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda s: s.update(format="resmfn.network/99"),
            "must have format 'resmfn.network/1', got 'resmfn.network/99'",
        ),
        (lambda s: s["state_dict"].pop("heads.0.bias"), "do not match.*heads.0.bias"),
        (lambda s: s["config"].update(hidden_dim=5), "do not match"),
        (lambda s: s["config"].update(depth=5), "do not match.*depth"),
        (lambda s: s["config"].update(init="x"), "net.pt: init must be"),
        (lambda s: s.pop("state_dict"), "do not match"),
    ],
)
def test_checkpoints_that_contradict_themselves_are_refused(make, tmp_path, spoil, message):
    state = network_state(make())
    spoil(state)
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(InputError, match=message):
        load_network(tmp_path / "net.pt")
    with pytest.raises(InputError, match=r"^[^\n]*$"):
        load_network(tmp_path / "net.pt")


def test_other_objects_are_no_state():
    with pytest.raises(InputError, match=r"must have format .* got 'list'"):
        network_from_state([1, 2])


def test_stated_cutoffs_are_kept_and_must_be_one_a_scale(tmp_path):
    config = NetworkConfig(dim=2, hidden_dim=4, n_scales=2, box_size=32, init="ball", cutoffs=(0.25, 1.0))
    network = MultiplicativeFilterNetwork(config, generator=torch.Generator().manual_seed(0))
    assert [network.half_width(scale) for scale in (1, 2)] == [4, 15]
    save_network(tmp_path / "network.pt", network)
    again = load_network(tmp_path / "network.pt")
    assert again.config == config
    assert torch.equal(again.fourier_coefficients(), network.fourier_coefficients())
    with pytest.raises(InputError, match=r"cutoffs must name 3 scales \(n_scales\), got \(0.25, 1.0\)"):
        NetworkConfig(dim=2, hidden_dim=4, n_scales=3, cutoffs=(0.25, 1.0))
