"""What must hold of each objective on a real model: the digits policy with LoRA."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.advantage import group_advantage
from zoo.data.digits import prompts
from zoo.engine.base import AdamWOptions
from zoo.engine.plain import PlainEngine
from zoo.objective.base import Objective
from zoo.objective.dpo import DPO
from zoo.objective.flow_grpo import FlowGRPO
from zoo.objective.nft import NFT
from zoo.policy.digits import Digits
from zoo.policy.weights import Lora
from zoo.reward.base import Reward
from zoo.reward.judge import Judge, WeightedReward
from zoo.rollout import Rollout, Weights, join, take
from zoo.sampler.flow_sampler import FlowSampler
from zoo.sampler.ode import Euler
from zoo.sampler.sde import FlowSDE
from zoo.seeds import Draws
from zoo.training.collect import Collector, Groups, collect, shard_groups
from zoo.training.cut import cut
from zoo.training.learn import Learned, Learner, learn
from zoo.training.learning_rate import LearningRate

CPU = torch.device("cpu")
GROUPS, GROUP_SIZE, STEPS = 3, 4, 4
SOLVER = FlowSDE()

MAKE: dict[str, Callable[[], Objective[Any]]] = {
    "nft": lambda: NFT(),
    "nft uniform": lambda: NFT(weighting="uniform", beta=0.1),
    "flow_grpo": lambda: FlowGRPO(SOLVER, clip_range=3e-3),
    "dpo": lambda: DPO(draws_per_pair=4),
    "dpo offline": lambda: DPO(draws_per_pair=4, ref_update=0),
}
EACH = pytest.mark.parametrize("name", MAKE)


class Brightness(Reward):
    """The mean pixel."""

    def score(self, images, prompts):
        return images.flatten(1).mean(1)


@dataclass
class Setting:
    policy: Digits
    engine: PlainEngine
    objective: Objective[Any]
    rollout: Rollout
    advantage: Tensor

    def rows(self, advantage: Tensor | None = None) -> Any:
        used = self.advantage if advantage is None else advantage
        return self.objective.rows(self.rollout, used, Draws(0, "rows", 0, self.rollout.key))

    def draws(self, rows: Any) -> Draws:
        return Draws(0, "loss", 0, rows.key)

    def losses(self, rows: Any) -> Any:
        with torch.no_grad():
            return self.objective.loss(self.policy, rows, self.draws(rows))

    def gradient(self, rows: Any) -> Tensor:
        live = list(self.policy.weights.parameters().values())
        loss = self.objective.loss(self.policy, rows, self.draws(rows)).per_row
        grads = torch.autograd.grad((rows.weight * loss).sum() / rows.weight.sum(), live)
        return torch.cat([g.flatten() for g in grads])

    def learn(self, rows: Any, *, lr: float = 1e-3, updates: int = 1, micro: int = 24) -> Learned:
        learner = Learner(
            self.engine, self.policy, self.objective, updates, micro, LearningRate(lr)
        )
        parts = cut(self.engine, rows, updates, num_groups=GROUPS, seed=0, epoch=0)
        return learn(learner, rows, parts, self.draws(rows), 0)

    def perturb(self, which: Weights, scale: float = 0.02) -> None:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for p in self.policy.weights.parameters(which).values():
                p += scale * torch.randn(p.shape, generator=generator)


def collected(policy: Digits, engine: PlainEngine, objective: Objective[Any], micro: int) -> Any:
    solver = SOLVER if objective.needs_path else Euler()
    judge = Judge([WeightedReward("brightness", Brightness())], timeout=30.0, retries=0)
    collector = Collector(engine, policy, FlowSampler(solver=solver, steps=STEPS), judge, micro)
    groups = Groups(
        prompts("train")[:GROUPS], GROUP_SIZE, objective.acts_with, 0, "collect",
        keep_path=objective.needs_path,
    )  # fmt: skip
    share = shard_groups(collector, groups)
    return collect(share, share.generate())


@cache
def gathered(name: str, micro: int = 12) -> tuple[Rollout, Tensor]:
    """A rollout of the fresh policy and its advantages."""
    policy, engine, objective = fresh(name)
    found = collected(policy, engine, objective, micro)
    return found.rollout, group_advantage(found.verdict.scores["brightness"], found.group)


def fresh(name: str) -> tuple[Digits, PlainEngine, Objective[Any]]:
    policy, objective = Digits(CPU, lora=Lora(rank=4, alpha=8)), MAKE[name]()
    policy.weights.allocate(objective.moves, seed=0)
    return policy, PlainEngine(policy.weights, AdamWOptions(), device=CPU), objective


def setting(name: str) -> Setting:
    return Setting(*fresh(name), *gathered(name))


@pytest.mark.fast_cases(1)
@EACH
def test_the_collection_does_not_depend_on_the_micro_batch(name) -> None:
    (one, advantage), (other, same) = gathered(name), gathered(name, 5)
    torch.testing.assert_close(one.path.clean, other.path.clean, rtol=0, atol=1e-4)
    torch.testing.assert_close(advantage, same, rtol=0, atol=1e-2)
    assert one.key.tolist() == list(range(GROUPS * GROUP_SIZE))


@pytest.mark.fast_cases(2)
@EACH
def test_the_probes_hold_on_a_fresh_policy(name) -> None:
    at = setting(name)
    rows = at.rows()
    probes = at.objective.probes(at.policy, rows, at.draws(rows))
    assert probes
    assert all(probe.holds for probe in probes), probes


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    ("name", "which"),
    [
        ("nft", Weights.LIVE),
        ("nft", Weights.OLD),
        ("nft uniform", Weights.LIVE),
        ("nft uniform", Weights.OLD),
        ("flow_grpo", Weights.LIVE),
        ("dpo", Weights.LIVE),
        ("dpo", Weights.REFERENCE),
        ("dpo offline", Weights.LIVE),
    ],
)
@pytest.mark.parametrize("broken", [0.02, float("nan")])
def test_the_probes_fail_on_a_policy_broken_on_purpose(name, which, broken) -> None:
    at = setting(name)
    at.perturb(which, broken)
    rows = at.rows()
    probes = at.objective.probes(at.policy, rows, at.draws(rows))
    assert not all(probe.holds for probe in probes), probes


def test_a_probe_fails_where_the_trainer_and_the_sampler_disagree_about_time() -> None:
    at = setting("flow_grpo")
    rows = at.rows()
    wrong = replace(rows, t=rows.t * 0.99)
    assert not at.objective.probes(at.policy, wrong, at.draws(rows))[0].holds


@pytest.mark.parametrize("name", ["nft", "nft uniform"])
def test_nft_has_no_gradient_at_zero_advantage_and_one_at_others(name) -> None:
    at = setting(name)
    assert float(at.gradient(at.rows(torch.zeros(12).double())).abs().max()) < 1e-6
    assert float(at.gradient(at.rows()).abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["nft", "nft uniform"])
def test_nfts_gradient_turns_round_with_the_advantage(name) -> None:
    at = setting(name)
    torch.testing.assert_close(
        at.gradient(at.rows()), -at.gradient(at.rows(-at.advantage)), rtol=1e-3, atol=1e-5
    )


def test_the_on_policy_ratio_is_one_until_the_first_update() -> None:
    at = setting("flow_grpo")
    rows = at.rows()
    torch.testing.assert_close(
        at.losses(rows).metrics["ratio"], torch.ones(len(rows.key)), rtol=0, atol=1e-4
    )
    at.learn(rows)
    assert float((at.losses(rows).metrics["ratio"] - 1).abs().max()) > 3e-3


@pytest.mark.parametrize("name", ["dpo", "dpo offline"])
def test_the_dpo_loss_is_ln_2_until_the_first_update(name) -> None:
    at = setting(name)
    rows = at.rows()
    wanted = torch.full((len(rows.key),), math.log(2))
    torch.testing.assert_close(at.losses(rows).per_row, wanted, rtol=0, atol=1e-5)
    at.learn(rows)
    assert float((at.losses(rows).per_row - wanted).abs().max()) > 1e-2


def test_the_dpo_reference_moves_every_so_many_updates() -> None:
    at = setting("dpo")
    at.objective.ref_update = 2
    rows = at.rows()
    start = at.losses(rows).per_row
    at.learn(rows)
    assert float((at.losses(rows).per_row - start).abs().max()) > 1e-2
    at.objective.after_update(at.policy.weights, 2)
    torch.testing.assert_close(at.losses(rows).per_row, start, rtol=0, atol=1e-5)


def test_nfts_old_follows_live_by_its_schedule() -> None:
    at = setting("nft")
    at.learn(at.rows())
    live, old = (at.policy.weights.parameters(w) for w in (Weights.LIVE, Weights.OLD))
    before = {name: p.clone() for name, p in old.items()}
    at.objective.after_epoch(at.policy.weights, 400)
    for name, p in old.items():
        torch.testing.assert_close(p, 0.4 * before[name] + 0.6 * live[name].detach())
    at.objective.after_epoch(at.policy.weights, 0)
    assert all(torch.equal(p, live[name]) for name, p in old.items())


@pytest.mark.parametrize("name", ["nft", "nft uniform"])
def test_an_nft_update_lowers_the_loss_and_fits_the_better_images_better(name) -> None:
    at = setting(name)
    rows = at.rows()
    before = at.losses(rows).per_row
    at.learn(rows, lr=3e-4)
    assert float((at.losses(rows).per_row - before).mean()) < 0
    # In r = 1 the positive policy alone counts: how well live fits the images, on either side.
    good = replace(rows, optimality=torch.ones_like(rows.optimality))
    after = at.losses(good).per_row
    fresh_at = setting(name)
    gained = fresh_at.losses(good).per_row - after
    assert float((gained * (rows.optimality - 0.5)).mean()) > 0


def test_a_flow_grpo_update_raises_the_log_probability_of_what_was_better() -> None:
    at = setting("flow_grpo")
    rows = at.rows()
    at.learn(rows, lr=1e-4)
    ratio = at.losses(rows).metrics["ratio"]
    assert float((ratio.log() * rows.advantage).mean()) > 0


@pytest.mark.parametrize("name", ["dpo", "dpo offline"])
def test_a_dpo_update_raises_the_margin_of_winners_over_losers(name) -> None:
    at = setting(name)
    rows = at.rows()
    at.learn(rows, lr=3e-4)
    assert float(at.losses(rows).metrics["margin"].mean()) > 0
    assert float(at.losses(rows).per_row.mean()) < math.log(2)


def parameters(at: Setting) -> Tensor:
    return torch.cat([p.detach().flatten() for p in at.policy.weights.parameters().values()])


@pytest.mark.fast_cases(1)
@EACH
def test_the_micro_batch_does_not_change_the_update(name) -> None:
    reached = []
    for micro in (4, 10, 1000):
        at = setting(name)
        # The first update of Adam is the sign of the gradient; in SGD errors stay in proportion.
        at.engine._optimizer = torch.optim.SGD(at.policy.weights.parameters().values())
        done = at.learn(at.rows(), lr=1e-2, updates=2, micro=micro)
        assert done.step == 2
        reached.append(parameters(at))
    start = parameters(setting(name))
    assert float((reached[0] - start).abs().max()) > 1e-4
    for other in reached[1:]:
        torch.testing.assert_close(other, reached[0], rtol=0, atol=1e-6)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("extreme", [1e4, 1e30, float("nan")])
@EACH
def test_images_without_a_valid_reward_do_not_change_the_update(name, extreme) -> None:
    """A group more, of invalid images with extreme latents, changes nothing."""
    at, with_more = setting(name), setting(name)
    made = with_more.rollout
    more = take(made, torch.arange(GROUP_SIZE))
    path = more.path
    more = replace(
        more,
        key=more.key + len(made.key),
        group=more.group + GROUPS,
        path=replace(
            path,
            clean=torch.full_like(path.clean, extreme),
            x=None if path.x is None else torch.full_like(path.x, extreme),
        ),
    )
    with_more.rollout = join([made, more])
    none = torch.full((GROUP_SIZE,), torch.nan, dtype=torch.float64)
    rows = with_more.rows(torch.cat([with_more.advantage, none]))
    for setting_, used in ((at, at.rows()), (with_more, rows)):
        setting_.engine._optimizer = torch.optim.SGD(setting_.policy.weights.parameters().values())
        done = setting_.learn(used, lr=1e-2, micro=10)
        assert (done.step, done.num_dropped) == (1, 0)
        assert all(math.isfinite(value) for value in done.metrics.values())
    torch.testing.assert_close(parameters(with_more), parameters(at), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_an_invalid_image_of_a_group_has_no_say() -> None:
    """Its rows weigh 0, and the others' gradient is the mean over what is left."""
    for name in ("nft", "flow_grpo"):
        at = setting(name)
        advantage = at.advantage.clone()
        advantage[2] = torch.nan
        rows = at.rows(advantage)
        left = take(rows, (rows.unit != 2).nonzero()[:, 0])
        assert bool((rows.weight[rows.unit == 2] == 0).all())
        torch.testing.assert_close(at.gradient(rows), at.gradient(left), rtol=0, atol=1e-6)
