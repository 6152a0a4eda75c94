"""`engine.deterministic`: as far as a CPU tells."""

import os

import pytest
import torch

from tests.runs import RECIPES, every_time, metrics, without_clocks
from tests.train_here import ONE_UPDATE, recipe, train_here
from zoo.engine.determinism import use_deterministic_kernels

VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "NCCL_ALGO", "NCCL_PROTO")
ATTENTION = ("mem_efficient_sdp", "cudnn_sdp", "flash_sdp", "math_sdp")


def attention():
    return {name: getattr(torch.backends.cuda, f"{name}_enabled")() for name in ATTENTION}


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before, benchmark = attention(), torch.backends.cudnn.benchmark
    yield
    torch.backends.cudnn.benchmark = benchmark
    for name, enabled in before.items():
        getattr(torch.backends.cuda, f"enable_{name}")(enabled)
    for name in VARIABLES:
        os.environ.pop(name, None)


def test_what_sums_in_any_order_is_switched_off(monkeypatch):
    monkeypatch.setenv("NCCL_ALGO", "Tree")
    use_deterministic_kernels()
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert attention() == dict(zip(ATTENTION, (False, False, True, True), strict=True))
    assert [os.environ[name] for name in VARIABLES] == [":4096:8", "Tree", "Simple"]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", every_time("nft"))
def test_every_objective_trains_with_it_and_on_a_cpu_to_the_same_numbers(algorithm, tmp_path):
    chosen = {**ONE_UPDATE, "epochs": 1}
    plain = train_here(recipe(RECIPES[algorithm], **chosen), tmp_path / "plain")
    assert not torch.are_deterministic_algorithms_enabled()
    made = recipe(RECIPES[algorithm], **chosen, engine__deterministic=True)
    train_here(made, tmp_path / "deterministic")
    assert torch.are_deterministic_algorithms_enabled()
    assert without_clocks(metrics(tmp_path / "deterministic")) == without_clocks(plain)
