"""Sets of weights: what they equal at the start, what moves them, where gradients go."""

import pytest
import torch
from torch import Tensor, nn

from zoo.policy.weights import Lora, WeightSets
from zoo.rollout import Weights

MOVED = (Weights.OLD, Weights.REFERENCE, Weights.EMA, Weights.SAMPLING)
KINDS = [pytest.param(Lora(rank=2, alpha=4), id="lora"), pytest.param(None, id="full")]
BOTH = pytest.mark.parametrize("lora", KINDS)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3))


def some_input() -> Tensor:
    return torch.linspace(-1, 1, 20).reshape(5, 4)


def allocate(lora: Lora | None, *copies: Weights, seed: int = 0) -> WeightSets:
    sets = WeightSets(network(), lora, default_targets=("0", "2"))
    sets.allocate(copies, seed=seed)
    return sets


def train(sets: WeightSets, num_steps: int = 3) -> None:
    optimizer = torch.optim.SGD(sets.parameters().values(), lr=0.3)
    for _ in range(num_steps):
        sets(some_input()).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@torch.no_grad()
def output(sets: WeightSets, which: Weights) -> Tensor:
    with sets.using(which):
        result: Tensor = sets(some_input())
    return result


def require_still(sets: WeightSets, which: Weights) -> None:
    """Training live moves no other set."""
    before = output(sets, which)
    train(sets)
    assert torch.equal(output(sets, which), before)


@BOTH
@pytest.mark.parametrize("which", Weights)
def test_every_set_equals_the_bare_network_after_allocate(
    lora: Lora | None, which: Weights
) -> None:
    sets = allocate(lora, *MOVED, Weights.BASE)
    with torch.no_grad():
        assert torch.equal(output(sets, which), network()(some_input()))


@BOTH
def test_training_moves_live_and_no_other_set(lora: Lora | None) -> None:
    sets = allocate(lora, *MOVED, Weights.BASE)
    bare = output(sets, Weights.LIVE)
    train(sets)
    assert (output(sets, Weights.LIVE) - bare).abs().max() > 0.01
    for which in (*MOVED, Weights.BASE):
        assert torch.equal(output(sets, which), bare)


@BOTH
def test_the_reference_may_be_used_without_being_allocated(lora: Lora | None) -> None:
    require_still(allocate(lora), Weights.REFERENCE)


@BOTH
def test_blending_with_decay_0_copies_live(lora: Lora | None) -> None:
    sets = allocate(lora, *MOVED)
    train(sets)
    for which in MOVED:
        sets.blend(which, decay=0.0)
        assert torch.equal(output(sets, which), output(sets, Weights.LIVE))


@BOTH
def test_blending_with_decay_1_changes_nothing(lora: Lora | None) -> None:
    sets = allocate(lora, Weights.OLD)
    bare = output(sets, Weights.OLD)
    train(sets)
    sets.blend(Weights.OLD, decay=1.0)
    assert torch.equal(output(sets, Weights.OLD), bare)


@BOTH
def test_blending_averages_each_parameter(lora: Lora | None) -> None:
    sets = allocate(lora, Weights.EMA)
    before = {name: p.clone() for name, p in sets.parameters(Weights.EMA).items()}
    train(sets)
    sets.blend(Weights.EMA, decay=0.9)
    live = sets.parameters()
    for name, parameter in sets.parameters(Weights.EMA).items():
        torch.testing.assert_close(parameter, 0.9 * before[name] + 0.1 * live[name].detach())


@BOTH
def test_a_copy_does_not_follow_live_after_a_blend(lora: Lora | None) -> None:
    sets = allocate(lora, Weights.OLD)
    train(sets)
    sets.blend(Weights.OLD, decay=0.0)
    require_still(sets, Weights.OLD)


@BOTH
def test_gradients_reach_live_parameters_and_no_others(lora: Lora | None) -> None:
    sets = allocate(lora, *MOVED)
    sets(some_input()).sum().backward()
    live = {id(p) for p in sets.parameters().values()}
    assert any(p.grad is not None for p in sets.parameters().values())
    trainable = {id(p) for p in sets.network.parameters() if p.requires_grad}
    assert trainable == live
    for which in MOVED:
        assert all(p.grad is None and not p.requires_grad for p in sets.parameters(which).values())
        with sets.using(which):
            assert not sets(some_input()).requires_grad


@BOTH
def test_every_set_has_the_same_names(lora: Lora | None) -> None:
    sets = allocate(lora, *MOVED)
    for which in MOVED:
        assert list(sets.parameters(which)) == list(sets.parameters())


@BOTH
def test_the_set_before_is_back_after_using_another_even_when_it_fails(lora: Lora | None) -> None:
    sets = allocate(lora, Weights.OLD)
    bare = output(sets, Weights.OLD)
    train(sets)
    live = output(sets, Weights.LIVE)
    with pytest.raises(KeyError), sets.using(Weights.OLD):
        raise KeyError
    assert torch.equal(sets(some_input()), live)
    with sets.using(Weights.OLD), sets.using(Weights.LIVE):
        assert torch.equal(sets(some_input()), live)
    with sets.using(Weights.OLD):
        with sets.using(Weights.REFERENCE):
            pass
        assert torch.equal(sets(some_input()), bare)


@BOTH
def test_using_another_set_keeps_what_requires_a_gradient(lora: Lora | None) -> None:
    sets = allocate(lora, *MOVED)
    before = [p.requires_grad for p in sets.network.parameters()]
    for which in MOVED:
        with sets.using(which):
            assert [p.requires_grad for p in sets.network.parameters()] == before


def test_lora_starts_the_same_from_the_same_seed_whatever_else_is_allocated() -> None:
    alone, among = allocate(Lora(), seed=3), allocate(Lora(), *MOVED, seed=3)
    other = allocate(Lora(), seed=4)
    for name, parameter in alone.parameters().items():
        assert torch.equal(parameter, among.parameters()[name])
    assert not torch.equal(
        alone.parameters()["0.lora_A.weight"], other.parameters()["0.lora_A.weight"]
    )


def test_allocating_leaves_the_global_generator_as_it_was() -> None:
    sets = WeightSets(network(), Lora(), default_targets=("0",))
    torch.manual_seed(7)
    expected = torch.randn(3)
    torch.manual_seed(7)
    sets.allocate([Weights.OLD], seed=0)
    assert torch.equal(torch.randn(3), expected)


def test_adapters_are_float32_on_a_bfloat16_network_and_average_small_steps() -> None:
    sets = WeightSets(network().bfloat16(), Lora(rank=2, alpha=4), default_targets=("0", "2"))
    sets.allocate([Weights.OLD], seed=0)
    assert {p.dtype for p in sets.parameters(Weights.OLD).values()} == {torch.float32}
    assert sets.network.get_submodule("0.base_layer").weight.dtype is torch.bfloat16
    assert sets(some_input().bfloat16()).dtype is torch.bfloat16
    with torch.no_grad():
        for parameter in sets.parameters().values():
            parameter.add_(1.0)
    before = {name: p.clone() for name, p in sets.parameters(Weights.OLD).items()}
    sets.blend(Weights.OLD, decay=0.999)
    for name, parameter in sets.parameters(Weights.OLD).items():
        torch.testing.assert_close(
            parameter - before[name], torch.full_like(parameter, 1e-3), rtol=1e-3, atol=1e-6
        )


def test_lora_targets_of_the_user_come_before_the_family_s() -> None:
    sets = WeightSets(network(), Lora(targets=("2",)), default_targets=("0", "2"))
    sets.allocate([], seed=0)
    assert list(sets.parameters()) == ["2.lora_A.weight", "2.lora_B.weight"]


def test_lora_targets_that_match_nothing_are_refused() -> None:
    sets = WeightSets(network(), Lora(targets=("to_q",)))
    with pytest.raises(ValueError, match=r"is named like to_q; it has 0, 2"):
        sets.allocate([], seed=0)


@BOTH
def test_before_allocate_there_is_only_live(lora: Lora | None) -> None:
    sets = WeightSets(network(), lora, default_targets=("0",))
    with sets.using(Weights.LIVE):
        assert torch.equal(sets(some_input()), sets.network(some_input()))
    with pytest.raises(ValueError, match=r"'old' do not exist yet; call allocate first"):
        sets.blend(Weights.OLD, 0.5)
    with pytest.raises(ValueError, match=r"'ema' do not exist yet"), sets.using(Weights.EMA):
        pass


@BOTH
def test_a_set_that_is_not_allocated_is_refused_with_the_fix(lora: Lora | None) -> None:
    sets = allocate(lora, Weights.OLD)
    with pytest.raises(ValueError, match=r"'ema' are not allocated .*live, old.* Weights.EMA in"):
        sets.blend(Weights.EMA, 0.9)
    with pytest.raises(ValueError, match=r"'ema' are not allocated"), sets.using(Weights.EMA):
        pass
    assert torch.equal(sets(some_input()), output(sets, Weights.LIVE))


@BOTH
def test_live_is_not_blended_into_itself_and_sets_are_allocated_once(lora: Lora | None) -> None:
    sets = allocate(lora)
    with pytest.raises(ValueError, match=r"not into itself"):
        sets.blend(Weights.LIVE, 0.5)
    with pytest.raises(RuntimeError, match=r"already allocated"):
        sets.allocate([], seed=0)


@BOTH
def test_rows_are_counted_for_every_set(lora: Lora | None) -> None:
    sets = allocate(lora, Weights.OLD)
    sets(some_input())
    output(sets, Weights.OLD)
    output(sets, Weights.REFERENCE)
    assert sets.num_rows == 15


@BOTH
def test_live_forwards_go_through_the_attached_engine(lora: Lora | None) -> None:
    sets = allocate(lora, Weights.OLD)
    seen: list[Tensor] = []

    def forward(x: Tensor) -> Tensor:
        seen.append(x)
        result: Tensor = sets.network(x)
        return result

    sets.attach(forward)
    assert torch.equal(sets(some_input()), sets.network(some_input()))
    assert len(seen) == 1


def test_what_is_trained_is_said_with_the_layers_that_the_targets_matched() -> None:
    # A and B of 2 rows or columns: 4 in and 8 out, then 8 in and 3 out.
    assert allocate(Lora(rank=2, alpha=4)).trained == "LoRA of rank 2 on 2 layers, 46 parameters"
    assert allocate(Lora(rank=2, alpha=4, targets=("2", "x.0", "proj"))).trained == (
        "LoRA of rank 2 on 1 layer, 22 parameters; no layer is named like x.0, proj"
    )
    assert allocate(None).trained == "the whole network, 67 parameters"
