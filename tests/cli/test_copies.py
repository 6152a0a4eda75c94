"""The copies of full fine-tuning in runs: on host or device, and only those that are used."""

import pytest

from tests.runs import (
    RECIPES,
    ROOT,
    SHORT,
    every_time,
    only_run,
    overrides,
    require_same_tensors,
    settings,
)
from zoo.objective.dpo import DPO
from zoo.objective.flow_grpo import FlowGRPO
from zoo.objective.nft import NFT
from zoo.plan.footprint import footprint
from zoo.plan.layout import Layout, layouts
from zoo.plan.live_bytes import num_bytes
from zoo.plan.memory import estimate
from zoo.recipe.recipe import RecipeError, load_recipe
from zoo.rollout import Weights
from zoo.sampler.sde import FlowSDE

FULL = {"policy__lora": "null", "optim__lr": 1e-3, "epochs": 2}
NO_KL = "objective.kl_weight=0"


def trained(root, algorithm, **changes):
    from zoo.cli.train import train

    train(RECIPES[algorithm], overrides(algorithm, root, **FULL, **changes)[1::2], None, None)
    return only_run(root)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", every_time("dpo"))
def test_copies_on_the_host_train_the_same_run(algorithm, tmp_path):
    on_device, on_host = (
        trained(tmp_path / place, algorithm, policy__copies_on=place) for place in ("device", "cpu")
    )
    require_same_tensors(on_host, on_device)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["crd", "kto"])
def test_what_is_measured_before_an_update_is_the_same_too(recipe, tmp_path):
    from zoo.cli.train import train

    runs = []
    for place in ("device", "cpu"):
        options = {**SHORT, "output_dir": tmp_path / place}
        changes = settings(options, **FULL, policy__copies_on=place)[1::2]
        train(ROOT / "recipes" / f"{recipe}_digits.yaml", changes, None, None)
        runs.append(only_run(tmp_path / place))
    require_same_tensors(*runs)


@pytest.mark.slow
def test_a_run_that_uses_no_reference_trains_resumes_and_shows_it_all_the_same(zoo_here, tmp_path):
    run = trained(tmp_path, "nft", objective__kl_weight=0)
    assert zoo_here("train", "--resume", run, "--epochs", 3).code == 0
    out = tmp_path / "a.png"
    arguments = ("sample", run, "-p", "a seven", "-n", 1, "-o", out, "--weights")
    for which in ("reference", "old", "live"):
        ended = zoo_here(*arguments, which)
        assert ended.code == 0, ended.err
    assert out.is_file()


def test_an_objective_uses_the_reference_where_it_has_weight():
    reference = frozenset({Weights.REFERENCE})
    for kl_weight, uses in ((0.0, frozenset()), (0.1, reference)):
        assert NFT(kl_weight=kl_weight).uses == uses
        assert FlowGRPO(FlowSDE(), kl_weight=kl_weight).uses == uses
    assert DPO().uses == DPO(ref_update=0).uses == reference


def found(*overrides):
    chosen = ["sampler.steps=2", "policy.lora=null", *overrides]
    return footprint(load_recipe(RECIPES["nft"], chosen), 1)


@pytest.mark.slow
def test_the_footprint_has_no_reference_that_is_not_used():
    with_it, without = found(), found(NO_KL)
    assert num_bytes(with_it.copies) == 2 * num_bytes(with_it.trained)
    assert num_bytes(without.copies) == num_bytes(without.trained)
    # Its table of positions: a buffer, 4 x 4 of width 64.
    assert with_it.outside - without.outside == 4 * 4 * 64 * 4


@pytest.mark.slow
def test_the_footprint_of_copies_on_the_host_is_one_copy_lent_at_a_time():
    device, host = found(), found("policy.copies_on=cpu")
    network = num_bytes(host.trained)
    assert num_bytes(host.copies) == num_bytes(device.copies) == 2 * network
    assert host.copies_on_host
    assert host.outside == device.outside
    # Collecting has old on the device throughout.
    assert host.sampling == device.sampling + network
    assert device.training <= host.training <= device.training + network
    here, there = (estimate(each, Layout(None), 1, cuda=True) for each in (device, host))
    assert there.parts.copies == 0
    assert there.parts.host == 2 * network
    assert here.parts.host == 0
    assert there.parts.total < here.parts.total
    # Where device and host are one, nothing is saved.
    assert estimate(host, Layout(None), 1).parts.host == 0
    assert layouts(cuda=True, copies_on_host=True) == (Layout(None),)


@pytest.mark.slow
def test_check_prints_the_plain_engine_alone_for_copies_on_the_host(zoo_here):
    chosen = ("-s", "policy.lora=null", "-s", "policy.copies_on=cpu")
    ended = zoo_here("check", RECIPES["nft"], *chosen)
    assert ended.code == 0, ended.err
    assert "plain *" in ended.out
    assert "ZeRO" not in ended.out


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_copies_on_the_host_are_refused_under_zero(stage):
    chosen = ["policy.lora=null", "policy.copies_on=cpu", f"engine.zero_stage={stage}"]
    with pytest.raises(RecipeError, match=r"^-s policy.copies_on=cpu: .*zero_stage: null, or cop"):
        load_recipe(RECIPES["nft"], chosen)


def test_lora_with_copies_on_the_host_is_refused():
    with pytest.raises(RecipeError, match=r"^-s policy.copies_on=cpu: .*for full fine-tuning, and"):
        load_recipe(RECIPES["nft"], ["policy.copies_on=cpu"])
