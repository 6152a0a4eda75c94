"""The speed in a run's metrics is of the FLOPs that its network does, and of its waits."""

import pytest
import torch

from tests.cli.conftest import reward_file, zoo_here
from tests.runs import RECIPES, only_run, overrides
from tests.runs import metrics as lines_of
from tests.train_here import ONE_UPDATE, recipe
from zoo.cli import train_said
from zoo.plan import work as planned_work
from zoo.plan.flops import counter
from zoo.plan.footprint import NoEstimateError
from zoo.plan.geometry import plan
from zoo.plan.work import row_of, works
from zoo.policy.digits import Digits
from zoo.prompt import Prompt
from zoo.rollout import Weights
from zoo.training.build import build
from zoo.training.collect import collect, shard_groups
from zoo.training.epoch import groups_of

__all__ = ["reward_file", "zoo_here"]


def test_a_row_is_what_the_network_does():
    policy = Digits(torch.device("cpu"))
    policy.weights.allocate(set(), seed=0)
    cond, x, t = policy.encode([Prompt("the digit seven")]), torch.zeros(1, 1, 8, 8), torch.ones(1)
    with torch.no_grad(), counter() as forward:
        policy.velocity(x, t, cond)
    with counter() as gradient:
        policy.velocity(x, t, cond).sum().backward()
    row = row_of(recipe(RECIPES["nft"]))
    assert (row.forward, row.gradient) == (forward.get_total_flops(), gradient.get_total_flops())
    assert row.dtype == torch.float32


def test_what_is_collected_takes_its_forwards():
    made = recipe(RECIPES["flow_grpo"], **ONE_UPDATE)
    run = build(made).stages[0]
    share = shard_groups(run.collector, groups_of(run, 0))
    with counter() as flops, run.model.policy.weights.using(Weights.LIVE):
        collected = collect(share, share.generate())
    (work,) = works(made, [plan(made, 1)])
    # The rest is the digits' decoder, and its classifier, which scores.
    assert collected.num_evals * work.forward == pytest.approx(flops.get_total_flops(), rel=0.02)
    assert work.graded == 1
    assert work.reachable is None


def test_of_nfts_forwards_in_learning_a_third_has_gradients():
    made = recipe(RECIPES["nft"], **ONE_UPDATE)
    (work,) = works(made, [plan(made, 1)])
    assert work.learned == pytest.approx(work.gradient / 3 + 2 * work.forward / 3)


def test_a_run_records_its_speed_and_its_waits(zoo_here, reward_file, tmp_path):
    slow = {**reward_file("time.sleep(0.2)\nreturn images.mean((1, 2, 3))"), "epochs": 1}
    assert zoo_here("train", RECIPES["nft"], *overrides("nft", tmp_path, **slow)).code == 0
    before, line = lines_of(only_run(tmp_path))
    assert not [key for key in before if key.startswith(("tflops/", "waits/"))]
    row = row_of(recipe(RECIPES["nft"]))
    evals = line["num_evals"] * row.forward
    done = sum(line[f"tflops/{phase}"] * line[f"seconds/{phase}"] for phase in ("collect", "learn"))
    assert evals < 1e12 * done < evals * row.gradient / row.forward
    assert not [key for key in line if key.startswith("mfu/")]
    assert line["waits/rewards"] >= 0.2
    assert 0 <= line["waits/data"] < line["seconds/collect"]
    assert line["waits/processes"] == 0


def test_a_policy_that_needs_numbers_costs_the_speed_and_not_the_run(monkeypatch, capsys):
    def refuse(*args):
        raise NoEstimateError("it reads numbers")

    monkeypatch.setattr(planned_work, "works", refuse)
    made = recipe(RECIPES["nft"])
    assert train_said.works_of(made, [plan(made, 1)]) == []
    assert "metrics have no tflops: it reads numbers" in "".join(capsys.readouterr())


def test_on_an_accelerator_it_is_a_part_of_what_products_reach(monkeypatch, capsys):
    monkeypatch.setattr(planned_work, "use_device", lambda recipe: torch.device("cuda", 0))
    monkeypatch.setattr(planned_work, "_reachable", lambda device, dtype: 2e14)
    made = recipe(RECIPES["nft"])
    (work,) = train_said.works_of(made, [plan(made, 1)])
    assert work.reachable == 2e14
    assert "mfu is of the 200 TFLOP/s" in "".join(capsys.readouterr())
