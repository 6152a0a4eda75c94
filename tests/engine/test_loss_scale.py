"""Losses of a network in float16 are scaled: its small gradients would be 0."""

import json

import pytest
import torch

from tests.runs import ROOT, metrics
from tests.train_here import recipe, train_here
from zoo.engine import loss_scale
from zoo.engine.base import AdamWOptions
from zoo.engine.loss_scale import LossScale
from zoo.engine.plain import PlainEngine
from zoo.policy.digits import Digits
from zoo.prompt import Prompt
from zoo.recipe.recipe import RecipeError
from zoo.rollout import Weights
from zoo.run import checkpoint
from zoo.run.tracker import open_tracker
from zoo.training.build import build
from zoo.training.loop import train
from zoo.training.state import restore

CPU = torch.device("cpu")
PROMPTS = [Prompt("a photo of the digit three")] * 2


def test_it_is_halved_by_an_overflow_and_doubled_after_many_updates(monkeypatch):
    monkeypatch.setattr(loss_scale, "_PATIENCE", 3)
    scale = LossScale(moves=True)
    seen = []
    for is_finite in (False, False, True, True, False, True, True, True, True):
        scale.updated(is_finite=is_finite)
        seen.append(scale.value / 2**16)
    assert seen == [1 / 2, 1 / 4, 1 / 4, 1 / 4, 1 / 8, 1 / 8, 1 / 8, 1 / 4, 1 / 4]
    again = LossScale(moves=True)
    again.load(json.loads(json.dumps(scale.state())))
    for _ in range(2):
        scale.updated(is_finite=True)
        again.updated(is_finite=True)
    assert (again.value, again.state()) == (scale.value, scale.state())
    assert again.value == 2**16 / 2
    for _ in range(100):
        scale.updated(is_finite=False)
    assert scale.value == 1


def test_without_float16_it_is_one_whatever_happens():
    scale = LossScale(moves=False)
    scale.updated(is_finite=False)
    scale.load({"value": 8.0, "since": 1})
    assert (scale.value, scale.state()) == (1.0, {})


def trained(dtype, factor, scaled=True):
    """The gradient of a loss that is small, and where the weights went."""
    policy = Digits(CPU, dtype=dtype)
    policy.weights.allocate((), seed=0)
    engine = PlainEngine(policy.weights, AdamWOptions(max_grad_norm=1e9), device=CPU)
    if not scaled:
        engine.loss_scale = LossScale(moves=False)
    x = torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8)
    velocity = policy.velocity(x, torch.tensor([0.5, 0.9]), policy.encode(PROMPTS))
    engine.backward(velocity.square().mean() * factor)
    norm = engine.update(1e-3)
    live = policy.weights.parameters(Weights.LIVE).values()
    return norm / factor, torch.cat([p.detach().flatten() for p in live]), engine


def test_a_gradient_too_small_for_float16_is_that_of_float32():
    exact, _, _ = trained("float32", 1e-7)
    scaled, _, engine = trained("float16", 1e-7)
    lost, _, _ = trained("float16", 1e-7, scaled=False)
    assert engine.loss_scale.value == 2**16
    # float16 has 11 bits; what is rounded adds up over the layers.
    assert scaled == pytest.approx(exact, rel=0.005)
    assert lost < 0.5 * exact


def test_an_update_that_overflows_is_dropped_and_the_scale_halved():
    norm, weights, engine = trained("float16", 1e3)
    assert not norm < float("inf")
    assert engine.loss_scale.value == 2**15
    policy = Digits(CPU, dtype="float16")
    policy.weights.allocate((), seed=0)
    before = [p.detach().flatten() for p in policy.weights.parameters().values()]
    assert torch.equal(weights, torch.cat(before))


def test_a_run_goes_on_with_its_scale_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_scale, "_PATIENCE", 3)
    changes = {
        "policy__dtype": "float16", "eval": "null", "data__groups_per_epoch": 4,
        "data__group_size": 4, "optim__updates_per_epoch": 2,
    }  # fmt: skip
    made = recipe(ROOT / "recipes" / "nft_digits.yaml", epochs=2, **changes)
    whole = train_here(made, tmp_path / "whole")[-1]
    train_here(recipe(ROOT / "recipes" / "nft_digits.yaml", epochs=1, **changes), tmp_path / "half")
    run = build(made)
    progress, _ = restore(run, checkpoint.latest(tmp_path / "half"))
    with open_tracker(tmp_path / "half", made) as tracker:
        train(run, progress, tracker)
    resumed = metrics(tmp_path / "half")[-1]
    assert resumed["epoch"] == whole["epoch"] == 2
    same = ("loss", "reward", "grad_norm", "step", "num_evals")
    assert [resumed[name] for name in same] == [whole[name] for name in same]
    tensors = [
        checkpoint.load(checkpoint.latest(tmp_path / each)).tensors for each in ("whole", "half")
    ]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    state = checkpoint.load(checkpoint.latest(tmp_path / "half")).state
    assert state["loss_scale"] == {"value": 2.0**17, "since": 1}


def test_deepspeed_is_refused():
    said = (
        r"policy\.dtype is float16, whose losses the plain engine scales, and "
        r"engine\.zero_stage is 1; write policy\.dtype: bfloat16"
    )
    with pytest.raises(RecipeError, match=said):
        recipe(ROOT / "recipes" / "nft_digits.yaml", engine__zero_stage=1, policy__dtype="float16")
