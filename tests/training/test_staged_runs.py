"""What stages share when a run is built, and what goes on from one to the next."""

from pathlib import Path

import pytest
import torch

from tests.engine.zero_checks import bound_changes
from tests.runs import RECIPES
from tests.train_here import recipe, train_here
from zoo import devices
from zoo.plan import preflight as ready
from zoo.reward.digits import Digit
from zoo.reward.known_answers import require_known_answers
from zoo.rollout import Weights
from zoo.run.tracker import Tracker
from zoo.training import loop
from zoo.training import state as run_state
from zoo.training.build import Run, build
from zoo.training.components import copies
from zoo.training.state import Progress

SMALL = {"data__groups_per_epoch": 2, "data__group_size": 2, "sampler__steps": 2, "eval": "null"}


def staged(stages: str, epochs: int, algorithm: str = "nft", **changes: object) -> Run:
    return build(recipe(RECIPES[algorithm], stages=stages, epochs=epochs, **SMALL | changes))


def test_the_same_reward_is_built_and_asked_once(monkeypatch):
    asked = []

    def ask(reward, label, device, timeout):
        asked.append(label)
        require_known_answers(reward, label, device, timeout)

    monkeypatch.setattr("zoo.training.components.require_known_answers", ask)
    stages = """[
        {epochs: 1},
        {epochs: 1, rewards: [{name: digit, weight: 2, label: again}, {name: diversity}]},
        {epochs: 1, rewards: [{name: diversity}], eval: {rewards: [{name: digit}]}},
    ]"""
    first, second, third = staged(stages, 3).stages
    assert asked == ["digit", "diversity"]
    digit = first.collector.judge.rewards[0].reward
    assert isinstance(digit, Digit)
    assert [each.reward is digit for each in second.collector.judge.rewards] == [True, False]
    assert second.collector.judge.weights == {"again": 2.0, "diversity": 1.0}
    assert third.evaluator.collector.judge.rewards[0].reward is digit
    assert first.mixture.parts[0].prompts is second.mixture.parts[0].prompts


def test_rewards_with_other_options_are_other_rewards():
    rewards = "[{name: jpeg_compressibility, quality: 50}, {name: jpeg_compressibility, label: b}]"
    judge = staged(f"[{{epochs: 1, rewards: {rewards}}}]", 1).stages[0].collector.judge
    assert judge.rewards[0].reward is not judge.rewards[1].reward


def test_stages_share_the_model_and_the_optimizer():
    run = staged("[{epochs: 1}, {epochs: 2}]", 3)
    first, second = run.stages
    assert first.model is second.model is run.model
    for part in (first.collector, second.collector, first.learner, second.learner):
        assert (part.policy, part.engine) == (run.model.policy, run.model.engine)
    assert first.objective is not second.objective
    indices = [run.stage_at(epoch).stage.index for epoch in range(4)]
    assert indices == [0, 1, 1, 1]


def test_the_sets_that_any_stage_moves_are_there_from_the_start():
    stages = "[{epochs: 1, objective: {ref_update: 0}}, {epochs: 1}]"
    run = staged(stages, 2, "dpo", objective__pairs_per_group=1)
    assert run.stages[0].objective.moves == frozenset()
    assert run.model.copies == {Weights.REFERENCE}
    assert run.model.policy.weights.parameters(Weights.REFERENCE)
    ema = recipe(RECIPES["nft"], stages=stages.replace("ref_update: 0", ""), epochs=2,
                 optim__ema="{}")  # fmt: skip
    assert copies(ema) == {Weights.OLD, Weights.EMA}


@pytest.mark.parametrize("resumed", [False, True])
def test_a_set_that_the_stage_before_left_behind_starts_as_live_is(resumed):
    """As at the run's start; else images would be collected with the untrained model again."""
    stages = """[
        {epochs: 1, objective: {collect_with: live}},
        {epochs: 2, objective: {collect_with: sampling}},
    ]"""
    run = staged(stages, 3, "nft", objective="{name: crd}", optim__updates_per_epoch=1)
    weights = run.model.policy.weights
    for p in weights.parameters().values():
        p.data += 1.0
    current = run.stage_at(1) if resumed else run.stages[0]
    entered = loop._enter_stage(run, current, Progress(1), Tracker(Path()))
    assert entered.objective.acts_with is Weights.SAMPLING
    sampling, old = (weights.parameters(which) for which in (Weights.SAMPLING, Weights.OLD))
    for name, live in weights.parameters().items():
        assert torch.equal(sampling[name], live)
        assert not torch.equal(old[name], live)  # the stage before moved it, at its own pace
        live.data += 1.0
    # And not again in the stage's second epoch.
    loop._enter_stage(run, entered, Progress(2), Tracker(Path()))
    assert not any(torch.equal(sampling[k], live) for k, live in weights.parameters().items())


@pytest.mark.parametrize(("copies_on", "tries"), [("cpu", 1), ("device", 0)])
def test_a_stage_tries_whether_its_loss_can_be_answered_by_weights_in_the_hosts_memory(
    copies_on, tries, monkeypatch
):
    tried = []
    monkeypatch.setattr(loop, "try_step", lambda learner, share: tried.append(learner))
    stages = "[{epochs: 1}, {epochs: 1}]"
    run = staged(stages, 2, policy__lora="null", policy__copies_on=copies_on)
    following = loop._enter_stage(run, run.stages[0], Progress(1), Tracker(Path()))
    assert tried == [following.learner] * tries


def test_a_reference_that_moves_from_the_second_stage_on_is_the_untrained_model_until_then():
    stages = "[{epochs: 1, objective: {ref_update: 0}}, {epochs: 1}]"
    run = staged(stages, 2, "dpo", objective__pairs_per_group=1)
    weights = run.model.policy.weights
    for p in weights.parameters().values():
        p.data += 1.0
    loop._enter_stage(run, run.stages[0], Progress(1), Tracker(Path()))
    for name, p in weights.parameters(Weights.REFERENCE).items():
        assert not torch.equal(p, weights.parameters()[name])


def test_the_objectives_state_goes_on_into_the_next_stage(tmp_path, monkeypatch):
    taken = []

    def state(self):
        return {"kl_weight": self.kl_weight}

    def load(self, state):
        taken.append((state["kl_weight"], self.kl_weight))

    objective = recipe(RECIPES["nft"]).objective.cls
    monkeypatch.setattr(objective, "state", state)
    monkeypatch.setattr(objective, "load", load)
    stages = "[{epochs: 1}, {epochs: 2, objective: {kl_weight: 0.5}}]"
    made = recipe(RECIPES["nft"], stages=stages, epochs=3, **SMALL)
    train_here(made, tmp_path)
    assert taken == [(1e-4, 0.5)]
    # At the very end of a stage a checkpoint is of it, and what goes on is the next one.
    run = build(made)
    progress, _ = run_state.restore(run, tmp_path / "checkpoints" / "000001")
    assert progress.epoch == 1
    assert taken[1:] == [(1e-4, 0.5)]
    assert run.stage_at(progress.epoch).stage.index == 1


def test_the_bound_on_the_gradient_is_the_stages(tmp_path):
    bound_changes(build(recipe(RECIPES["nft"], **SMALL)).model)


def test_as_many_processes_start_as_the_smallest_stage_has_groups(monkeypatch):
    monkeypatch.setattr(devices, "num_accelerators", lambda: 8)
    made = recipe(
        RECIPES["nft"], engine__processes="auto", epochs=2,
        stages="[{epochs: 1}, {epochs: 1, data: {groups_per_epoch: 3}}]",
    )  # fmt: skip
    assert ready.num_processes(made) == 3
