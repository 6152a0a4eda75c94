"""A network that is trained whole in float32 and computes in half precision."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from tests.policy.test_lora_linear import inputs, transformer
from zoo.plan.live_bytes import META, LiveBytes
from zoo.policy.blocks import checkpoint_gradients, compile_blocks
from zoo.policy.half_network import compute_in
from zoo.policy.weights import WeightSets
from zoo.rollout import Weights

HALF = torch.bfloat16


def whole(casts: torch.dtype | None = HALF, **options) -> WeightSets:
    return WeightSets(transformer(torch.float32), None, casts=casts, **options)


def output(weights, which: Weights = Weights.LIVE) -> Tensor:
    with torch.no_grad(), weights.using(which):
        out: Tensor = weights(*inputs(torch.float32))[0]
    return out


def test_it_computes_what_the_network_in_half_precision_does() -> None:
    weights = whole()
    weights.allocate((Weights.OLD,), seed=0)
    with torch.no_grad():
        exact = transformer(torch.float32)(*inputs(torch.float32))[0]
        half = transformer(HALF)(*inputs(HALF)[:3], inputs(torch.float32)[3])[0]
    for which in (Weights.LIVE, Weights.OLD, Weights.REFERENCE):
        assert torch.equal(output(weights, which), half)
    assert not torch.equal(half.float(), exact)


def test_what_is_kept_and_trained_is_float32() -> None:
    weights = whole()
    names = list(weights.network.state_dict())
    assert names == list(transformer(torch.float32).state_dict())
    weights.allocate((), seed=0, reference=False)
    weights(*inputs(torch.float32))[0].float().square().mean().backward()
    live = weights.parameters()
    assert {p.dtype for p in live.values()} == {torch.float32}
    assert {p.grad.dtype for p in live.values() if p.grad is not None} == {torch.float32}
    # Steps that bfloat16 cannot hold, whose last bit of 1 is 1/128, add up.
    before = output(weights)
    for _step in range(100):
        with torch.no_grad():
            for p in live.values():
                p.mul_(1 + 1e-4)
    assert not torch.equal(output(weights), before)


def test_its_gradients_are_those_of_float32_to_rounding() -> None:
    gradients = []
    for casts in (None, HALF):
        weights = whole(casts)
        weights.allocate((), seed=0, reference=False)
        weights(*inputs(torch.float32))[0].float().square().mean().backward()
        found = [p.grad for p in weights.parameters().values() if p.grad is not None]
        gradients.append(torch.cat([g.flatten() for g in found]).double())
    exact, rounded = gradients
    assert 1e-4 < float((rounded - exact).norm() / exact.norm()) < 0.03


@pytest.mark.parametrize("copies_on", ["device", "cpu"])
def test_copies_have_numbers_of_their_own(copies_on) -> None:
    weights = whole(copies_on=copies_on)
    weights.allocate((Weights.OLD,), seed=0, reference=False)
    before = output(weights)
    with torch.no_grad():
        for p in weights.parameters().values():
            p.mul_(1.5)
    assert torch.equal(output(weights, Weights.OLD), before)
    assert not torch.equal(output(weights), before)


def test_checkpointing_gives_the_same_gradients() -> None:
    gradients = []
    for checkpoint in (False, True):
        weights = whole()
        weights.allocate((), seed=0, reference=False)
        if checkpoint:
            checkpoint_gradients(weights.network)
            weights.network.train()
        weights(*inputs(torch.float32))[0].float().sum().backward()
        gradients.append([p.grad for p in weights.parameters().values() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_activations_are_in_half_precision() -> None:
    """Beside the cast weights a forward keeps half of what it does in float32."""
    kept = {}
    for casts in (None, HALF):
        with LiveBytes() as live, META:
            weights = whole(casts)
            weights.allocate((), seed=0, reference=False)
            given = [torch.empty_like(x, device=META) for x in inputs(torch.float32, batch=64)]
            before = live.now
            out = weights(*given)[0]
            kept[casts] = live.now - before
            del out
    assert kept[HALF] < 0.62 * kept[None]


def test_a_copy_of_it_reads_its_own() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    compute_in(network, HALF)
    other = deepcopy(network)
    nn.init.zeros_(dict(other.named_parameters())["0.weight"])
    assert network[0].weight.dtype == other[0].weight.dtype == HALF
    assert bool(network[0].weight.any())
    assert not bool(other[0].weight.any())
    assert isinstance(other[0], nn.Linear)
    assert repr(other) == repr(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_its_blocks_can_be_compiled() -> None:
    weights = whole()
    weights.allocate((), seed=0, reference=False)
    plain = output(weights)
    compile_blocks(weights.network)
    torch.testing.assert_close(output(weights), plain, rtol=0, atol=0.03)
    weights(*inputs(torch.float32))[0].float().sum().backward()
    assert {p.grad.dtype for p in weights.parameters().values() if p.grad is not None} == {
        torch.float32
    }
