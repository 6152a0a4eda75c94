"""What every policy promises, on its smallest model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from zoo.policy.base import Policy
from zoo.prompt import Prompt
from zoo.rollout import Cond, Lookup, Weights, join, take
from zoo.seeds import Draws
from zoo.testing.inputs import some_prompts

_NUM = 5
_GUIDED = pytest.mark.parametrize("guidance", [1.0, 2.5])


class PolicyTests(ABC):
    """The checks of a policy: inherit them in a class whose name starts with Test, write `make`."""

    @abstractmethod
    def make(self) -> Policy:
        """A new instance of the smallest model there is, on the CPU, always with equal weights."""

    def prompts(self, num: int) -> Sequence[Prompt]:
        """As many prompts that it can read; the first five differ."""
        return some_prompts(num)

    def allocate(self) -> Policy:
        """A new instance with the sets of weights that a run may ask for."""
        policy = self.make()
        policy.weights.allocate((Weights.OLD, Weights.EMA), seed=0)
        return policy

    def _perturbed(self, guidance: float) -> tuple[Policy, Tensor, Tensor, Cond]:
        """An instance whose live was moved, and what its velocity takes."""
        policy = self.allocate()
        # LoRA's B starts at 0, where A has no gradient.
        perturb(policy)
        return policy, *_inputs(policy), policy.encode(self.prompts(_NUM), guidance=guidance)

    @_GUIDED
    def test_encode_gives_a_row_a_prompt_without_gradients(self, guidance: float) -> None:
        """Text encoders are never trained."""
        cond = self.allocate().encode(self.prompts(_NUM), guidance=guidance)
        assert cond.guidance == guidance
        for value in cond.tensors.values():
            assert len(value.index if isinstance(value, Lookup) else value) == _NUM
            assert not (value.table if isinstance(value, Lookup) else value).requires_grad

    @_GUIDED
    def test_velocity_is_finite_float32_and_of_the_shape_of_the_latents(
        self, guidance: float
    ) -> None:
        """Whatever the type of the weights."""
        policy = self.allocate()
        x, t = _inputs(policy)
        before = x.clone()
        velocity = policy.velocity(x, t, policy.encode(self.prompts(_NUM), guidance=guidance))
        assert velocity.shape == (_NUM, *policy.latent_shape)
        assert velocity.dtype == torch.float32
        assert bool(velocity.isfinite().all())
        assert torch.equal(x, before), "the policy changed its latents"

    @_GUIDED
    def test_a_row_does_not_depend_on_its_batch(self, guidance: float) -> None:
        """Batches differ with the number of processes; an image must not."""
        policy, x, t, cond = self._perturbed(guidance)
        with torch.no_grad():
            whole = policy.velocity(x, t, cond)
            index = torch.tensor([4, 1, 1])
            part = policy.velocity(x[index], t[index], take(cond, index))
        torch.testing.assert_close(part, whole[index], rtol=0, atol=1e-4)
        assert float((whole[0] - whole[1]).abs().max()) > 1e-3

    def test_conditions_of_one_table_can_be_joined(self) -> None:
        """Prompts are encoded once and their rows cut and put together."""
        policy = self.allocate()
        x, t = _inputs(policy)
        cond = policy.encode(self.prompts(_NUM), guidance=2.0)
        both = join([cond, cond])
        with torch.no_grad():
            once = policy.velocity(x, t, cond)
            twice = policy.velocity(x.repeat(2, *[1] * (x.ndim - 1)), t.repeat(2), both)
        torch.testing.assert_close(twice, torch.cat([once, once]), rtol=0, atol=1e-4)

    @_GUIDED
    def test_gradients_reach_all_of_live_and_nothing_else(self, guidance: float) -> None:
        """What no gradient reaches is not trained, and other sets are moved by hand alone."""
        policy, x, t, cond = self._perturbed(guidance)
        torch.autograd.backward(policy.velocity(x, t, cond).square().mean())
        live = policy.weights.parameters()
        reached = {id(p) for p in policy.weights.network.parameters() if p.grad is not None}
        assert reached <= {id(p) for p in live.values()}
        gradients = [p.grad for p in live.values() if p.grad is not None]
        assert len(gradients) == len(live)
        assert any(float(gradient.abs().max()) > 0 for gradient in gradients)
        for which in (Weights.OLD, Weights.EMA):
            assert all(p.grad is None for p in policy.weights.parameters(which).values())

    def test_gradients_flow_through_the_conditional_branch_only(self) -> None:
        """With guidance, the branch without the prompt is taken as it is."""
        policy = self.allocate()
        perturb(policy)
        x, t = _inputs(policy)
        live = list(policy.weights.parameters().values())

        def gradient(guidance: float) -> Tensor:
            cond = policy.encode(self.prompts(_NUM), guidance=guidance)
            total = policy.velocity(x, t, cond).sum()
            grads = torch.autograd.grad(total, live, allow_unused=True)
            return torch.cat([g.flatten() for g in grads if g is not None])

        torch.testing.assert_close(gradient(3.0), 3.0 * gradient(1.0), rtol=1e-3, atol=1e-4)

    def test_every_set_of_weights_is_used_by_the_forward(self) -> None:
        """All start as the pre-trained model, and moving one moves no other."""
        policy = self.allocate()
        x, t = _inputs(policy)
        cond = policy.encode(self.prompts(_NUM))

        def velocity(which: Weights) -> Tensor:
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

    def test_rows_through_the_network_are_counted(self) -> None:
        """That is: `velocity` calls the network only as `self.weights(...)`."""
        policy = self.allocate()
        x, t = _inputs(policy)
        for guidance, forwards in ((1.0, 1), (2.0, 2)):
            cond = policy.encode(self.prompts(_NUM), guidance=guidance)
            before = policy.weights.num_rows
            with torch.no_grad():
                policy.velocity(x, t, cond)
            # A model with embedded guidance needs no second forward.
            assert policy.weights.num_rows - before in (_NUM, forwards * _NUM)

    @pytest.mark.parametrize("scale", [1.0, 100.0])
    def test_decoded_images_are_float32_and_in_range(self, scale: float) -> None:
        """[batch, 3, height, width], or with frames before the 3, in [0, 1]."""
        policy = self.allocate()
        x, _ = _inputs(policy)
        images = policy.decode(scale * x)
        assert images.dtype == torch.float32
        assert images.shape[0] == _NUM
        assert images.shape[-3] == 3
        assert 0 <= float(images.min()) <= float(images.max()) <= 1
        assert not images.requires_grad

    def test_images_become_latents_of_the_models_shape(self) -> None:
        """Offline data is learned from so."""
        policy = self.allocate()
        x, _ = _inputs(policy)
        latents = policy.latents(policy.decode(x))
        assert latents.shape == (_NUM, *policy.latent_shape)
        assert latents.dtype == torch.float32
        assert bool(latents.isfinite().all())

    @pytest.mark.parametrize("steps", [1, 2, 10, 50])
    def test_a_grid_falls_from_at_most_one_to_zero(self, steps: int) -> None:
        """In float64 on the CPU, one point more than steps."""
        grid = self.allocate().grid(steps)
        assert (grid.shape, grid.dtype, grid.device.type) == ((steps + 1,), torch.float64, "cpu")
        assert 0 < float(grid[0]) <= 1
        assert float(grid[-1]) == 0
        assert bool((grid.diff() < 0).all())

    def test_two_builds_are_the_same_model(self) -> None:
        """Every process builds its own."""
        one, two = self.allocate(), self.allocate()
        x, t = _inputs(one)
        with torch.no_grad():
            a = one.velocity(x, t, one.encode(self.prompts(_NUM)))
            b = two.velocity(x, t, two.encode(self.prompts(_NUM)))
        assert torch.equal(a, b)
        live, other = one.weights.parameters(), two.weights.parameters()
        assert live.keys() == other.keys()
        assert all(torch.equal(live[name], other[name]) for name in live)


def perturb(policy: Policy) -> None:
    """Moves live away from where it started."""
    with torch.no_grad():
        for i, parameter in enumerate(policy.weights.parameters().values()):
            noise = Draws(0, "perturb", 0, torch.tensor([i])).normal(tuple(parameter.shape))[0]
            parameter.add_(noise.to(parameter), alpha=0.05)


def _inputs(policy: Policy) -> tuple[Tensor, Tensor]:
    draws = Draws(0, "test", 0, torch.arange(_NUM))
    return draws.normal(policy.latent_shape), torch.linspace(0.05, 1.0, _NUM)
