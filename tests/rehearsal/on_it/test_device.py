"""The pretend device refuses what CUDA refuses, counts what waits, and torch finds it."""

import pytest
import torch

import zoo.training.build
from tests.rehearsal.device import is_page_locked
from tests.rehearsal.on_it.both import SHORT, made
from tests.runs import RECIPES
from zoo import devices
from zoo.policy.weights import WeightSets
from zoo.rollout import Weights
from zoo.seeds import Draws, order
from zoo.training.own_device import use_device


def here(*values):
    return torch.tensor(values, device="sim")


MIXED = {
    "a sum": lambda: here(1.0, 2.0) + torch.ones(2),
    "cat": lambda: torch.cat([here(1.0), torch.ones(1)]),
    "stack": lambda: torch.stack([here(1.0)[0], torch.tensor(1.0)]),
    "an index": lambda: torch.ones(3)[here(0, 1)],
    "index_add": lambda: torch.zeros(2).index_add_(0, here(0, 1), torch.ones(2)),
    "in place": lambda: torch.tensor(1.0).add_(here(1.0)[0]),
    "a layer": lambda: torch.nn.Linear(2, 2)(here(1.0, 2.0)),
}


@pytest.mark.parametrize("mixed", MIXED.values(), ids=MIXED)
def test_two_devices_are_refused(mixed):
    with pytest.raises(RuntimeError, match="same device"):
        mixed()


def test_scalars_and_indices_may_be_the_hosts():
    x = here(1.0, 2.0)
    assert (x * torch.tensor(2.0))[torch.tensor([1])].tolist() == [4.0]


def test_a_generator_of_the_host_draws_nothing_on_the_device():
    with pytest.raises(RuntimeError, match="device type for generator"):
        torch.randn(2, generator=torch.Generator(), device="sim")


def test_draws_are_the_hosts_wherever_tensors_are_made():
    draws = Draws(0, "some", 0, torch.arange(2))
    with torch.device("sim"):
        inside = draws.normal((3,)), order(4, seed=0, purpose="some")
    assert torch.equal(inside[0], draws.normal((3,)))
    assert torch.equal(inside[1], order(4, seed=0, purpose="some"))


def test_it_is_found_and_named():
    assert devices.accelerator() == torch.device("sim")
    assert devices.num_accelerators() == 1
    assert devices.accelerator_names() == ["a pretend accelerator"]
    assert devices.most_memory() == 0


@pytest.fixture
def exact():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(("device", "precision"), [("auto", "high"), ("cpu", "highest")])
@pytest.mark.usefixtures("exact")
def test_a_run_on_it_has_fast_products_of_float32_and_one_on_the_cpu_has_not(device, precision):
    use_device(made(RECIPES["nft"], device))
    assert torch.get_float32_matmul_precision() == precision


COUNTED = {
    "item": lambda x: float(x.sum()),
    "to cpu": lambda x: x.cpu(),
    "to sim": lambda x: torch.ones(2).to("sim"),
    "size": lambda x: x[x > 1],
    "unwaited": lambda x: torch.ones(2).to("sim", non_blocking=True),
    "random": lambda x: x.normal_(),
    "synchronize": lambda x: torch.get_device_module("sim").synchronize(),
}


@pytest.mark.parametrize("kind", COUNTED)
def test_what_waits_is_counted(kind, traffic):
    x = here(1.0, 2.0)
    traffic.clear()
    with traffic.phase("some"):
        COUNTED[kind](x)
    assert [(of, phase) for of, phase, _ in sorted(traffic.counts)] == [(kind, ""), (kind, "some")]
    assert traffic.waits("some") == (kind not in ("unwaited", "random"))


def test_page_locked_memory_must_not_be_overwritten_too_soon():
    source = torch.ones(2).pin_memory()
    there = source.to("sim", non_blocking=True)
    source.add_(1)
    with pytest.raises(RuntimeError, match="overwritten"):
        there.sum().item()


def test_values_and_gradients_are_the_cpus():
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.SiLU(), torch.nn.Linear(4, 1))
    x = torch.randn(3, 4)
    expected = torch.autograd.grad(layer(x).sum(), layer.parameters())
    found = torch.autograd.grad(layer.to("sim")(x.to("sim")).sum(), layer.parameters())
    assert all(torch.equal(a.cpu(), b) for a, b in zip(found, expected, strict=True))


def test_copies_on_the_host_are_page_locked_and_share_few_pieces():
    network = torch.nn.Sequential(*[torch.nn.Linear(16, 16, device="sim") for _ in range(20)])
    sets = WeightSets(network, None, copies_on="cpu")
    sets.allocate([Weights.OLD], seed=0, reference=False)
    old, live = sets.parameters(Weights.OLD), sets.parameters()
    assert all(is_page_locked(p) for p in old.values())
    assert len({p.untyped_storage().data_ptr() for p in old.values()}) < 6
    assert all(torch.equal(p, live[name].cpu()) for name, p in old.items())
    with sets.using(Weights.OLD), torch.no_grad():
        there = sets(here(*[1.0] * 16))
    # Written once the device has read them, whatever lies beside them.
    sets.blend(Weights.OLD, decay=0.5)
    assert torch.equal(there.cpu(), network(here(*[1.0] * 16)).detach().cpu())


def test_its_memory_grows_before_a_run_makes_anything_there(monkeypatch):
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    told = []
    monkeypatch.setattr(torch._C, "_accelerator_setAllocatorSettings", told.append, raising=False)

    def first(device):
        raise LookupError(f"{device}: {told}")

    monkeypatch.setattr(zoo.training.build, "Shared", first)
    with pytest.raises(LookupError, match=r"sim:0: \['expandable_segments:True'\]"):
        zoo.training.build.build(made(RECIPES["nft"], "auto", **SHORT))
