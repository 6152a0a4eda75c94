"""The distance to a reference, in the one form that all objectives have."""

import pytest
import torch

from tests.runs import ROOT
from tests.train_here import ONE_UPDATE, epoch_here, recipe, train_here
from zoo.data.digits import prompts
from zoo.objective.awm import AWM
from zoo.objective.base import Loss
from zoo.objective.flow_grpo import FlowGRPO
from zoo.objective.kl import KL, HeldRows, Point
from zoo.objective.nft import NFT
from zoo.plan.geometry import StandIn, plan
from zoo.policy.digits import Digits
from zoo.rollout import Cond, Weights
from zoo.sampler.flow_sampler import FlowSampler
from zoo.sampler.ode import Euler
from zoo.sampler.sde import FlowSDE
from zoo.seeds import Draws
from zoo.training.build import build
from zoo.training.generate import conditions

NFT_DIGITS = ROOT / "recipes" / "nft_digits.yaml"


def held(kl, batch, epoch=0, gate=None, asked=None):
    """The loss of two rows with a distance of 1, at a loss of 0."""

    class Asked(StandIn):
        def velocity(self, x, t, cond):
            if asked is not None:
                asked.append(cond.guidance)
            return super().velocity(x, t, cond)

    policy, objective = Asked(), NFT(kl=kl)
    policy.weights.allocate((), seed=0, reference=True)
    x, t, key, cond = torch.zeros(2, 1), torch.ones(2), torch.arange(2), Cond({})
    loss = objective.hold(
        Loss(torch.zeros(2)), policy, Point(x, t, cond), lambda v: torch.ones(2),
        HeldRows(key, key, torch.ones(2), cond, t, gate, batch=batch),
        Draws(0, "loss", epoch, key),
    )  # fmt: skip
    return loss, policy.weights.num_rows // 2


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_every_nth_micro_batch_has_n_times_the_weight(every):
    found = [held(KL(weight=0.1, every=every), batch) for batch in range(3 * every)]
    total = sum(float(loss.per_row.sum()) for loss, _ in found)
    assert total == pytest.approx(0.1 * 2 * 3 * every)
    assert sum(forwards for _, forwards in found) == 3
    assert sum(float(loss.metrics["kl"].sum()) for loss, _ in found) == pytest.approx(6 * every)


def test_which_micro_batch_begins_is_another_each_epoch():
    kl = KL(weight=0.1, every=4)
    first = {next(batch for batch in range(4) if held(kl, batch, epoch)[1]) for epoch in range(30)}
    assert first == {0, 1, 2, 3}


def test_outside_a_runs_micro_batches_the_forward_is_always_taken():
    loss, forwards = held(KL(weight=0.1, every=7), None)
    assert (forwards, loss.per_row.tolist()) == (1, pytest.approx([0.1, 0.1]))


def test_a_gate_holds_the_images_that_it_chooses():
    loss, _ = held(KL(weight=0.1, on="gated"), 0, gate=torch.tensor([2.0, 0.0]))
    assert loss.per_row.tolist() == pytest.approx([0.2, 0.0])
    with pytest.raises(ValueError, match=r"write advantage.gate"):
        held(KL(weight=0.1, on="gated"), 0)


def test_the_reference_may_be_guided_where_nothing_else_is():
    asked = []
    held(KL(weight=0.1, guidance=4.5), 0, asked=asked)
    held(KL(weight=0.1), 0, asked=asked)
    assert asked == [4.5, 1.0]
    assert NFT(kl=KL(guidance=4.5)).guidance == 4.5
    assert NFT(kl_weight=0.0, kl=KL(guidance=4.5)).guidance == 1.0


@pytest.mark.parametrize("cls", [NFT, lambda **options: FlowGRPO(FlowSDE(), **options)])
def test_the_weight_of_the_short_form_is_that_of_the_long_one(cls):
    assert cls(kl_weight=0.3).kl_weight == 0.3
    assert cls(kl_weight=0.3, kl=KL(every=2)).kl_weight == 0.3
    assert cls(kl_weight=0.3, kl=KL(weight=0.0)).kl_weight == 0.0
    assert cls(kl=KL(weight=0.2)).uses == {Weights.REFERENCE}
    assert cls(kl=KL(weight=0.2, to="ema")).uses == {Weights.EMA}
    assert cls(kl=KL(weight=0.0, every=9)).period == 1


@pytest.mark.slow
def test_the_forwards_planned_are_the_forwards_made_with_a_distance_now_and_then(tmp_path):
    """4 updates of 2 micro-batches: of 8, every 4th takes the reference's forward."""
    made = recipe(
        NFT_DIGITS, epochs=2, eval="null", objective__kl="{weight: 0.01, every: 4}",
        data__groups_per_epoch=2, data__group_size=16, objective__trained_steps=2,
        engine__micro_batch="{sample: 32, train: 8}",
    )  # fmt: skip
    planned = plan(made, 1)
    lines = train_here(made, tmp_path)
    an_epoch = planned.collect_forwards + planned.train_forwards
    assert [line["num_evals"] for line in lines] == [0, an_epoch, 2 * an_epoch]
    assert planned.train_forwards == 64 * 2 + 64 // 4


@pytest.mark.slow
def test_live_may_be_held_to_its_own_average():
    made = recipe(
        NFT_DIGITS, **ONE_UPDATE, objective__kl="{weight: 0.5, to: ema}",
        optim__ema="{cap: 0.9}",
    )  # fmt: skip
    run = build(made)
    epoch_here(run.stages[0])
    assert Weights.EMA in run.model.copies


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(("guidance", "apart"), [("null", False), (3.0, True)])
def test_a_guided_reference_pulls_live_towards_it(guidance, apart, monkeypatch):
    """Live without guidance differs from the reference with it: the distance is not 0 at first."""
    seen, loss = [], AWM.loss

    def watch(self, policy, rows, draws):
        out = loss(self, policy, rows, draws)
        seen.append(float(out.metrics["kl"].max()))
        return out

    monkeypatch.setattr(AWM, "loss", watch)
    made = recipe(
        ROOT / "recipes" / "awm_digits.yaml", **ONE_UPDATE,
        objective__kl=f"{{weight: 0.5, guidance: {guidance}}}",
    )  # fmt: skip
    epoch_here(build(made).stages[0])
    assert (seen[0] > 1e-3) == apart


def test_prompts_are_encoded_for_the_reference_and_sampled_without():
    policy = Digits(torch.device("cpu"))
    cond = conditions(policy, FlowSampler(solver=Euler(), steps=2), prompts("train")[:2], 4.5)
    assert cond.guidance == 1.0
    assert "null_words" in cond.tensors
