"""How often the host waits: once a sampling, whatever its length; twice a collected micro-batch."""

import pytest
import torch

from tests.rehearsal.on_it.both import SHORT, made
from tests.runs import RECIPES
from zoo.policy.digits import Digits
from zoo.prompt import Prompt
from zoo.registry import entries
from zoo.sampler.flow_sampler import FlowSampler
from zoo.sampler.ode import DPMSolver2M, Euler, Heun
from zoo.sampler.sde import CPS, DDIM, DanceSDE, FlowSDE
from zoo.sampler.window import SDEWindow
from zoo.seeds import Draws
from zoo.training.build import build
from zoo.training.collect import collect, shard_groups
from zoo.training.epoch import groups_of

SOLVERS = {
    "cps": CPS(), "dance_sde": DanceSDE(), "ddim": DDIM(), "dpm2": DPMSolver2M(), "euler": Euler(),
    "flow_sde": FlowSDE(), "heun": Heun(),
    "sde_window": SDEWindow(inside=FlowSDE(), outside=DPMSolver2M(), size=1),
}  # fmt: skip
PROMPTS = [Prompt("the digit seven"), Prompt("the digit one")]


def test_these_are_all_solvers():
    assert {e.name for e in entries("solvers") if e.package == "diffusion-rl-zoo"} == set(SOLVERS)


@pytest.fixture(scope="module")
def policy():
    made = Digits(torch.device("sim", 0))
    made.weights.allocate(set(), seed=0)
    return made


@pytest.mark.parametrize("name", SOLVERS)
@torch.no_grad()
def test_a_sampling_of_any_length_waits_for_nothing(name, policy, traffic):
    draws = Draws(0, "some", 0, torch.arange(2), torch.device("sim", 0))
    cond = policy.encode(PROMPTS, guidance=2.0)
    for steps in (2, 5):
        sampler = FlowSampler(solver=SOLVERS[name], steps=steps, guidance=2.0)
        traffic.clear()
        path = sampler.sample(policy, PROMPTS, cond, draws, keep_path=True)
        assert traffic.at("sampling") == {}
        assert traffic.calls["sampling"] == 1
        assert path.clean.device.type == "sim"


@pytest.mark.parametrize("algorithm", ["nft", "flow_grpo"])
def test_a_collected_micro_batch_waits_once(algorithm, tmp_path, traffic):
    changes = {**SHORT, "eval": "null", "data__group_size": 8}
    waits = []
    for size in (8, 2):
        changes["engine__micro_batch"] = f"{{sample: {size}, train: 8}}"
        run = build(made(RECIPES[algorithm], "auto", **changes)).stages[0]
        share = shard_groups(run.collector, groups_of(run, 0))
        traffic.clear()
        collect(share, share.generate())
        waits.append(traffic.waits())
        assert traffic.calls["generating"] == 16 // size + 1  # the last finds the end
    assert waits[1] - waits[0] == 16 // 2 - 16 // 8
