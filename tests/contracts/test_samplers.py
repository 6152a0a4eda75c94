"""What every registered sampler promises, on the digits model."""

import pytest
import torch

from tests.contracts.components import CPU, STOCHASTIC, build, each, some_prompts
from zoo.policy.digits import Digits
from zoo.rollout import take
from zoo.seeds import Draws

EACH = each("samplers")
NUM = 5


@pytest.fixture
def policy():
    return Digits(CPU)


def sample(sampler, policy, index=None, keep_path=False):
    index = torch.arange(NUM) if index is None else index
    cond = take(policy.encode(some_prompts(NUM), guidance=sampler.guidance), index)
    prompts = [some_prompts(NUM)[i] for i in index.tolist()]
    draws = Draws(0, "collect", 0, torch.arange(NUM) + 7).take(index)
    with torch.no_grad():
        return sampler.sample(policy, prompts, cond, draws, keep_path=keep_path)


@EACH
def test_clean_latents_are_finite_and_of_the_models_shape(entry, policy, tmp_path):
    clean = sample(build(entry, tmp_path), policy).clean
    assert clean.shape == (NUM, *policy.latent_shape)
    assert clean.dtype == torch.float32
    assert bool(clean.isfinite().all())


@EACH
def test_a_row_does_not_depend_on_its_batch(entry, policy, tmp_path):
    sampler = build(entry, tmp_path)
    whole = sample(sampler, policy).clean
    index = torch.tensor([4, 0, 1])
    part = sample(sampler, policy, index).clean
    torch.testing.assert_close(part, whole[index], rtol=0, atol=1e-4)
    assert torch.equal(sample(sampler, policy).clean, whole)


@EACH
def test_the_forwards_told_are_those_of_the_network(entry, policy, tmp_path):
    before = policy.weights.num_rows
    path = sample(build(entry, tmp_path), policy)
    assert policy.weights.num_rows - before == NUM * path.num_evals


@EACH
def test_the_path_is_kept_if_it_is_asked_for(entry, policy, tmp_path):
    sampler = build(entry, tmp_path, solver=STOCHASTIC)
    kept, bare = (sample(sampler, policy, keep_path=keep) for keep in (True, False))
    assert torch.equal(kept.clean, bare.clean)
    assert kept.x is not None
    assert bare.x is bare.log_prob is bare.grid is None
    assert torch.equal(kept.grid, sampler.grid(policy))


@EACH
def test_the_grid_falls_to_zero(entry, policy, tmp_path):
    grid = build(entry, tmp_path).grid(policy)
    assert float(grid[-1]) == 0
    assert bool((grid.diff() < 0).all())


@EACH
def test_guidance_changes_the_images(entry, policy, tmp_path):
    plain, guided = (build(entry, tmp_path, guidance=g) for g in (1.0, 3.0))
    assert guided.guidance == 3.0
    away = (sample(guided, policy).clean - sample(plain, policy).clean).abs().max()
    assert float(away) > 0.05
