"""Collecting in float8: it is collecting alone, it resumes, and what it takes is estimated."""

import pytest
import torch
import torch.nn.functional as F

from tests.runs import RECIPES, metrics, only_run, overrides, require_same, without_clocks, zoo
from tests.train_here import ONE_UPDATE, recipe
from zoo.engine.interrupt import Interrupt
from zoo.plan.footprint import footprint
from zoo.plan.layout import Layout
from zoo.plan.memory import estimate
from zoo.policy.float8 import Float8Linear
from zoo.recipe.errors import RecipeError
from zoo.rollout import Weights
from zoo.run.tracker import Tracker
from zoo.training.build import build
from zoo.training.epoch import advantages, collect_epoch, learn_epoch
from zoo.training.state import Progress

HALF = {"policy__dtype": "bfloat16"}
FP8 = {**HALF, "sampler__quantization": "fp8"}


def one(tmp_path, **changes):
    """A run of an epoch and what it collects."""
    run = build(recipe(RECIPES["nft"], **{**ONE_UPDATE, **changes})).stages[0]
    tracker = Tracker(tmp_path)
    return run, collect_epoch(run, 0, tracker, Interrupt(run.model.engine, print)), tracker


def test_other_images_are_collected_and_the_same_is_learned_of_the_same(tmp_path):
    plain, of_bfloat16, tracker = one(tmp_path, **HALF)
    ours, of_float8, _ = one(tmp_path, **FP8)
    pairs = [of_bfloat16.rollout.path.clean, of_float8.rollout.path.clean]
    assert 0 < (pairs[0] - pairs[1]).norm() < 0.2 * pairs[0].norm()
    learned = [
        learn_epoch(run, of_float8, advantages(run, of_float8), Progress(), tracker)
        for run in (plain, ours)
    ]
    assert learned[0].metrics == learned[1].metrics
    for which in (Weights.LIVE, Weights.OLD):
        weights = [run.model.policy.weights.parameters(which) for run in (plain, ours)]
        assert all(torch.equal(p, weights[1][name]) for name, p in weights[0].items())


def test_evaluations_are_those_of_bfloat16(tmp_path):
    """Before anything has been learned of other images."""
    lines = {}
    for name, changes in (("bfloat16", HALF), ("fp8", FP8)):
        arguments = overrides("nft", tmp_path / name, epochs=1, **changes)
        done = zoo("train", RECIPES["nft"], *arguments)
        assert done.returncode == 0, done.stderr
        lines[name] = without_clocks(metrics(only_run(tmp_path / name)))
    first = {name: each[0] for name, each in lines.items()}
    evaluated = [key for key in first["fp8"] if key.startswith("eval")]
    assert evaluated
    assert [key for key in evaluated if first["fp8"][key] != first["bfloat16"][key]] == []
    assert lines["fp8"] != lines["bfloat16"]


def test_a_run_goes_on_bit_for_bit(tmp_path):
    arguments = {name: overrides("nft", tmp_path / name, **FP8) for name in ("whole", "half")}
    whole = zoo("train", RECIPES["nft"], *arguments["whole"], "--epochs", 3)
    half = zoo(
        "train", RECIPES["nft"], *arguments["half"], "--epochs", 3, "-s", "stop_when.images=40"
    )
    assert (whole.returncode, half.returncode) == (0, 0), whole.stderr + half.stderr
    assert len(metrics(only_run(tmp_path / "half"))) < len(metrics(only_run(tmp_path / "whole")))
    resumed = zoo("train", "--resume", only_run(tmp_path / "half"), "-s", "stop_when=null")
    assert resumed.returncode == 0, resumed.stderr
    require_same(only_run(tmp_path / "half"), only_run(tmp_path / "whole"))


def test_its_weights_are_in_the_estimate():
    plain, ours = (footprint(recipe(RECIPES["nft"], **each), 1) for each in (HALF, FP8))
    network = build(recipe(RECIPES["nft"], **{**ONE_UPDATE, **FP8})).model.policy.weights.network
    layers = [module for module in network.modules() if isinstance(module, Float8Linear)]
    assert ours.quantized == sum(m.weight8.nbytes + m.scale8.nbytes for m in layers) > 0
    assert (plain.quantized, plain.outside) == (0, ours.outside)
    assert ours.flops == plain.flops
    networks = [estimate(of, Layout(None), 1).phases["training"].network for of in (plain, ours)]
    assert networks[1] - networks[0] == ours.quantized


def test_a_device_that_cannot_is_refused_before_weights(monkeypatch):
    def refuse(*arguments, **options):
        raise RuntimeError("scaled_mm is not there")

    monkeypatch.setattr(F, "scaled_mm", refuse)
    monkeypatch.setattr("zoo.training.build.PolicySizes", refuse)
    with pytest.raises(RecipeError, match=r"sampler.quantization is fp8: torch .* cannot multiply"):
        build(recipe(RECIPES["nft"], **FP8))


def test_a_network_without_such_layers_is_refused(monkeypatch):
    monkeypatch.setattr("zoo.policy.float8.repeated_blocks", lambda network: [])
    with pytest.raises(RecipeError, match=r"SD3Transformer2DModel has no blocks .* write sampler"):
        build(recipe(RECIPES["nft"], **{**ONE_UPDATE, **FP8}))
