"""Full fine-tuning's copies in the host's memory: the same numbers, moved once for each use."""

import pytest
import torch
from torch import nn

from tests.policy.test_weights import MOVED, allocate, network, output, some_input, train
from zoo.devices import host_memory, host_pieces, shared_host_bytes
from zoo.policy import weight_copies as networks
from zoo.policy.weights import Lora, WeightSets
from zoo.rollout import Weights


def on_host(*copies: Weights) -> WeightSets:
    sets = WeightSets(network(), None, copies_on="cpu")
    sets.allocate(copies, seed=0)
    return sets


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[Weights]:
    """The sets that were moved to the device, in order."""
    seen: list[Weights] = []
    lend = networks.Networks._copy_to_device

    def counted(self: networks.Networks, which: Weights) -> None:
        seen.append(which)
        lend(self, which)

    monkeypatch.setattr(networks.Networks, "_copy_to_device", counted)
    return seen


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Live is taken to be on an accelerator: bytes of the host's memory that copies ask for."""
    found: list[int] = []

    def counted(shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
        made = host_memory(shape, device)
        found.append(made.untyped_storage().nbytes())
        return made

    monkeypatch.setattr(networks, "is_accelerator", lambda device: True)
    monkeypatch.setattr(host_pieces, "host_memory", counted)
    return found


def require_values_of_copies_on_the_device() -> None:
    sets, others = on_host(*MOVED), allocate(None, *MOVED)
    for each in (sets, others):
        train(each)
        each.blend(Weights.OLD, decay=0.7)
        each.blend(Weights.EMA, decay=0.0)
        train(each)
        each.blend(Weights.EMA, decay=0.9)
    for which in (Weights.LIVE, *MOVED):
        assert torch.equal(output(sets, which), output(others, which))
    names = list(sets.parameters())
    values = {name: torch.full_like(p, 0.5) for name, p in sets.parameters().items()}
    sets.assign(Weights.OLD, values)
    assert all(bool((sets.tensors(Weights.OLD)[name].whole() == 0.5).all()) for name in names)


def test_every_set_has_the_values_of_copies_on_the_device() -> None:
    require_values_of_copies_on_the_device()


def test_beside_an_accelerator_too_in_pieces_that_parameters_share(asked: list[int]) -> None:
    require_values_of_copies_on_the_device()
    live = list(network().parameters())
    sets = len(MOVED)
    assert sum(asked) == sets * shared_host_bytes(live)
    assert len(asked) < sets * len(live)


def test_a_set_moves_once_for_each_block_and_live_never(moves: list[Weights]) -> None:
    sets = on_host(*MOVED)
    sets(some_input())
    with sets.using(Weights.OLD):
        for _ in range(3):
            sets(some_input())
        with sets.using(Weights.REFERENCE):
            sets(some_input())
        with sets.using(Weights.LIVE), sets.using(Weights.OLD):
            sets(some_input())
        sets(some_input())
    assert moves == [Weights.OLD, Weights.REFERENCE]
    assert not sets.module._lent
    with pytest.raises(KeyError), sets.using(Weights.EMA):
        raise KeyError
    assert not sets.module._lent


def test_what_is_written_into_a_set_in_use_is_used() -> None:
    sets = on_host(Weights.OLD)
    train(sets)
    with torch.no_grad(), sets.using(Weights.OLD):
        before = sets(some_input())
        sets.blend(Weights.OLD, decay=0.0)
        after = sets(some_input())
    assert not torch.equal(before, after)
    assert torch.equal(after, output(sets, Weights.LIVE))


def test_forwards_are_on_lives_device(monkeypatch: pytest.MonkeyPatch) -> None:
    # The meta device stands for another than the host's.
    monkeypatch.setattr(
        networks,
        "_on_host",
        lambda own: [nn.Parameter(torch.zeros(p.shape), requires_grad=False) for p in own],
    )
    sets = WeightSets(nn.Linear(4, 4, device="meta"), None, copies_on="cpu")
    sets.allocate([Weights.OLD], seed=0)
    assert {p.device.type for p in sets.parameters(Weights.OLD).values()} == {"cpu"}
    with torch.no_grad(), sets.using(Weights.OLD):
        assert sets(torch.zeros(2, 4, device="meta")).is_meta
    assert {p.device.type for p in sets.parameters(Weights.OLD).values()} == {"cpu"}


def test_a_reference_that_is_not_used_is_not_kept() -> None:
    sets = WeightSets(network(), None)
    sets.allocate([Weights.OLD], seed=0, reference=False)
    assert set(sets.module.sets) == {"live", "old"}
    with pytest.raises(ValueError, match=r"Weights.REFERENCE in the objective's `uses`"):
        output(sets, Weights.REFERENCE)
    assert torch.equal(output(sets, Weights.OLD), output(sets, Weights.LIVE))


def test_lora_has_no_copies_for_the_host() -> None:
    with pytest.raises(ValueError, match=r"copies_on is cpu, .* write copies_on: device, or lora"):
        WeightSets(network(), Lora(), default_targets=("0",), copies_on="cpu")
