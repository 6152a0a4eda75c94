"""What every registered policy promises, on its smallest model."""

import pytest
import torch

from tests.contracts.components import build, each, some_prompts
from zoo.rollout import Lookup, Weights, join, take
from zoo.seeds import Draws

EACH = each("policies")
NUM = 5
GUIDED = pytest.mark.parametrize("guidance", [1.0, 2.5])


@pytest.fixture
def make(entry, tmp_path):
    def make(copies=(Weights.OLD, Weights.EMA)):
        policy = build(entry, tmp_path)
        policy.weights.allocate(copies, seed=0)
        return policy

    return make


def inputs(policy, num=NUM):
    draws = Draws(0, "test", 0, torch.arange(num))
    return draws.normal(policy.latent_shape), torch.linspace(0.05, 1.0, num)


def perturb(policy, which=Weights.LIVE):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.weights.parameters(which).values():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


@EACH
@GUIDED
def test_encode_gives_a_row_a_prompt_without_gradients(make, guidance):
    cond = make().encode(some_prompts(NUM), guidance=guidance)
    assert cond.guidance == guidance
    for value in cond.tensors.values():
        assert len(value.index if isinstance(value, Lookup) else value) == NUM
        assert not (value.table if isinstance(value, Lookup) else value).requires_grad


@EACH
@GUIDED
def test_velocity_is_finite_float32_and_of_the_shape_of_the_latents(make, guidance):
    policy = make()
    x, t = inputs(policy)
    before = x.clone()
    velocity = policy.velocity(x, t, policy.encode(some_prompts(NUM), guidance=guidance))
    assert velocity.shape == (NUM, *policy.latent_shape)
    assert velocity.dtype == torch.float32
    assert bool(velocity.isfinite().all())
    assert torch.equal(x, before)


@EACH
@GUIDED
def test_a_row_does_not_depend_on_its_batch(make, guidance):
    policy = make()
    perturb(policy)
    x, t = inputs(policy)
    cond = policy.encode(some_prompts(NUM), guidance=guidance)
    with torch.no_grad():
        whole = policy.velocity(x, t, cond)
        index = torch.tensor([4, 1, 1])
        part = policy.velocity(x[index], t[index], take(cond, index))
    torch.testing.assert_close(part, whole[index], rtol=0, atol=1e-4)
    assert float((whole[0] - whole[1]).abs().max()) > 1e-3


@EACH
def test_conditions_of_one_table_can_be_joined(make):
    policy = make()
    x, t = inputs(policy)
    cond = policy.encode(some_prompts(NUM), guidance=2.0)
    both = join([cond, cond])
    with torch.no_grad():
        once = policy.velocity(x, t, cond)
        twice = policy.velocity(x.repeat(2, *[1] * (x.ndim - 1)), t.repeat(2), both)
    torch.testing.assert_close(twice, torch.cat([once, once]), rtol=0, atol=1e-4)


@EACH
@GUIDED
def test_gradients_reach_all_of_live_and_nothing_else(make, guidance):
    policy = make()
    # LoRA's B starts at 0, where A has no gradient.
    perturb(policy)
    x, t = inputs(policy)
    cond = policy.encode(some_prompts(NUM), guidance=guidance)
    policy.velocity(x, t, cond).square().mean().backward()
    live = policy.weights.parameters()
    reached = {id(p) for p in policy.weights.network.parameters() if p.grad is not None}
    assert reached <= {id(p) for p in live.values()}
    with_gradient = [name for name, p in live.items() if p.grad is not None]
    assert len(with_gradient) == len(live)
    assert any(float(live[name].grad.abs().max()) > 0 for name in with_gradient)
    for which in (Weights.OLD, Weights.EMA):
        assert all(p.grad is None for p in policy.weights.parameters(which).values())


@EACH
def test_gradients_flow_through_the_conditional_branch_only(make):
    policy = make()
    perturb(policy)
    x, t = inputs(policy)
    live = list(policy.weights.parameters().values())

    def gradient(guidance):
        cond = policy.encode(some_prompts(NUM), guidance=guidance)
        grads = torch.autograd.grad(policy.velocity(x, t, cond).sum(), live, allow_unused=True)
        return torch.cat([g.flatten() for g in grads if g is not None])

    torch.testing.assert_close(gradient(3.0), 3.0 * gradient(1.0), rtol=1e-3, atol=1e-4)


@EACH
def test_every_set_of_weights_is_used_by_the_forward(make):
    policy = make()
    x, t = inputs(policy)
    cond = policy.encode(some_prompts(NUM))

    def velocity(which):
        with torch.no_grad(), policy.weights.using(which):
            return policy.velocity(x, t, cond)

    fresh = velocity(Weights.LIVE)
    every = (Weights.OLD, Weights.EMA, Weights.REFERENCE)
    for which in every:
        torch.testing.assert_close(velocity(which), fresh, rtol=0, atol=1e-5)
    perturb(policy)
    assert float((velocity(Weights.LIVE) - fresh).abs().max()) > 1e-3
    for which in every:
        torch.testing.assert_close(velocity(which), fresh, rtol=0, atol=1e-5)


@EACH
def test_rows_through_the_network_are_counted(make):
    policy = make()
    x, t = inputs(policy)
    for guidance, forwards in ((1.0, 1), (2.0, 2)):
        cond = policy.encode(some_prompts(NUM), guidance=guidance)
        before = policy.weights.num_rows
        with torch.no_grad():
            policy.velocity(x, t, cond)
        # A model with embedded guidance needs no second forward.
        assert policy.weights.num_rows - before in (NUM, forwards * NUM)


@EACH
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_decoded_images_are_float32_and_in_range(make, scale):
    policy = make()
    x, _ = inputs(policy)
    images = policy.decode(scale * x)
    assert images.dtype == torch.float32
    assert images.shape[0] == NUM
    assert images.shape[-3] == 3
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert not images.requires_grad


@EACH
def test_images_become_latents_of_the_models_shape(make):
    policy = make()
    x, _ = inputs(policy)
    images = policy.decode(x)
    latents = policy.latents(images)
    assert latents.shape == (NUM, *policy.latent_shape)
    assert latents.dtype == torch.float32
    assert bool(latents.isfinite().all())


def test_a_digit_decoded_from_its_latents_is_the_digit():
    from zoo.digits import halves
    from zoo.policy.digits import Digits

    policy = Digits(torch.device("cpu"))
    grey = torch.from_numpy(halves()[0].images[:9])[:, None]
    images = grey.repeat(1, 3, 1, 1)
    torch.testing.assert_close(policy.decode(policy.latents(images)), images, rtol=0, atol=1e-6)


@EACH
@pytest.mark.parametrize("steps", [1, 2, 10, 50])
def test_a_grid_falls_from_at_most_one_to_zero(make, steps):
    grid = make().grid(steps)
    assert (grid.shape, grid.dtype, grid.device.type) == ((steps + 1,), torch.float64, "cpu")
    assert 0 < float(grid[0]) <= 1
    assert float(grid[-1]) == 0
    assert bool((grid.diff() < 0).all())


@EACH
def test_two_builds_are_the_same_model(make):
    one, two = make(), make()
    x, t = inputs(one)
    with torch.no_grad():
        a = one.velocity(x, t, one.encode(some_prompts(NUM)))
        b = two.velocity(x, t, two.encode(some_prompts(NUM)))
    assert torch.equal(a, b)
    live, other = one.weights.parameters(), two.weights.parameters()
    assert live.keys() == other.keys()
    assert all(torch.equal(live[name], other[name]) for name in live)
