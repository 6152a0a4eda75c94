"""What every sampler promises, on the digits model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from zoo.policy.base import Policy
from zoo.policy.digits import Digits
from zoo.prompt import Prompt
from zoo.rollout import Path, take
from zoo.sampler.base import Sampler, Solver
from zoo.sampler.ode import Euler
from zoo.sampler.sde import FlowSDE
from zoo.seeds import Draws
from zoo.testing.inputs import some_prompts

_NUM = 5


class SamplerTests(ABC):
    """The checks of a sampler: inherit them in a class named Test..., write `make`."""

    @abstractmethod
    def make(self, solver: Solver, guidance: float) -> Sampler:
        """A new instance; a sampler that has no solver or no guidance leaves them."""

    def policy(self) -> Policy:
        """The model that it samples from."""
        return Digits(torch.device("cpu"))

    def prompts(self, num: int) -> Sequence[Prompt]:
        """As many prompts."""
        return some_prompts(num)

    def test_clean_latents_are_finite_and_of_the_models_shape(self) -> None:
        """As many rows as prompts."""
        policy = self.policy()
        clean = self._sample(self.make(Euler(), 1.0), policy).clean
        assert clean.shape == (_NUM, *policy.latent_shape)
        assert clean.dtype == torch.float32
        assert bool(clean.isfinite().all())

    def test_a_row_does_not_depend_on_its_batch(self) -> None:
        """Batches differ with the number of processes; an image must not."""
        sampler, policy = self.make(Euler(), 1.0), self.policy()
        whole = self._sample(sampler, policy).clean
        index = torch.tensor([4, 0, 1])
        part = self._sample(sampler, policy, index).clean
        torch.testing.assert_close(part, whole[index], rtol=0, atol=1e-4)
        assert torch.equal(self._sample(sampler, policy).clean, whole)

    def test_the_forwards_told_are_those_of_the_network(self) -> None:
        """Runs plan and compare by them."""
        policy = self.policy()
        before = policy.weights.num_rows
        path = self._sample(self.make(Euler(), 1.0), policy)
        assert policy.weights.num_rows - before == _NUM * path.num_evals

    def test_the_path_is_kept_if_it_is_asked_for(self) -> None:
        """It is large, and changes no image."""
        sampler, policy = self.make(FlowSDE(), 1.0), self.policy()
        kept, bare = (self._sample(sampler, policy, keep_path=keep) for keep in (True, False))
        assert torch.equal(kept.clean, bare.clean)
        assert bare.x is bare.log_prob is bare.grid is None
        if sampler.solver is None or not sampler.solver.stochastic:
            pytest.skip("it has no stochastic solver, so no path")
        grid = sampler.grid(policy)
        assert kept.x is not None
        assert kept.grid is not None
        assert grid is not None
        assert torch.equal(kept.grid, grid)

    def test_the_grid_falls_to_zero(self) -> None:
        """From at most 1."""
        grid = self.make(Euler(), 1.0).grid(self.policy())
        if grid is None:
            pytest.skip("it visits no times")
        assert 0 < float(grid[0]) <= 1
        assert float(grid[-1]) == 0
        assert bool((grid.diff() < 0).all())

    def test_guidance_changes_the_images(self) -> None:
        """`guidance` is what prompts are encoded with."""
        policy = self.policy()
        plain, guided = (self.make(Euler(), guidance) for guidance in (1.0, 3.0))
        if guided.guidance == 1:
            pytest.skip("it has no guidance")
        assert guided.guidance == 3.0
        away = (self._sample(guided, policy).clean - self._sample(plain, policy).clean).abs().max()
        assert float(away) > 0.05

    def _sample(
        self,
        sampler: Sampler,
        policy: Policy,
        index: Tensor | None = None,
        *,
        keep_path: bool = False,
    ) -> Path:
        index = torch.arange(_NUM) if index is None else index
        prompts = self.prompts(_NUM)
        cond = take(policy.encode(prompts, guidance=sampler.guidance), index)
        draws = Draws(0, "collect", 0, torch.arange(_NUM) + 7).take(index)
        asked = [prompts[i] for i in index.tolist()]
        with torch.no_grad():
            return sampler.sample(policy, asked, cond, draws, keep_path=keep_path)
