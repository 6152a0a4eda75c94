"""A pipeline's own solver against the grid that was found, with networks that stay the same."""

import diffusers
import pytest
import torch

from tests.policy.pipeline import toy
from zoo.policy.pipeline.clock import read_clock
from zoo.policy.pipeline.contract import UnsupportedError
from zoo.policy.pipeline.learn import learn
from zoo.policy.pipeline.questions import Question
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.solver import aligned


def clock_of(pipe):
    """As the policy finds it."""
    seam = Seam(pipe, toy.Family(), {}, negative="", image=None)
    some = seam.encode(["a"], None)

    def set_grid(steps):
        return seam.ask(Question("grid", ["a"], steps=steps, encoded=some))

    clock = read_clock(seam.scheduler, set_grid)
    return aligned(seam, learn(seam), clock, lambda steps: clock.grid(set_grid(steps)))


class FlowMatchTurned(diffusers.FlowMatchEulerDiscreteScheduler):
    """Is handed what points from noise to data."""

    def step(self, model_output, timestep, sample, **more):
        return super().step(-model_output, timestep, sample, **more)


class FlowMatchShort(diffusers.FlowMatchEulerDiscreteScheduler):
    """Its steps are a tenth too short."""

    def step(self, model_output, timestep, sample, **more):
        return super().step(0.9 * model_output, timestep, sample, **more)


def with_scheduler(cls, **options):
    pipe = toy.toy()
    pipe.scheduler = cls(**{"shift": 3.0, **options})
    return pipe


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Of diffusers, with NumPy 2.
@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (diffusers.FlowMatchEulerDiscreteScheduler, {"shift": 3.0}),
        (diffusers.UniPCMultistepScheduler, {"prediction_type": "flow_prediction"}),
        (diffusers.DPMSolverMultistepScheduler, {"prediction_type": "flow_prediction"}),
    ],
)
def test_solvers_of_any_order_go_along_their_grids(cls, options):
    pipe = toy.toy()
    if "prediction_type" in options:
        options = {**options, "use_flow_sigmas": True, "flow_shift": 3.0}
    pipe.scheduler = cls(**options)
    assert clock_of(pipe).sign == 1


def test_velocities_from_noise_to_data_are_turned_round():
    clock = clock_of(with_scheduler(FlowMatchTurned))
    x, t = torch.randn(2, 3), torch.tensor([0.9, 0.2])
    assert torch.equal(clock.velocity(lambda x, t: x, x, t), -x)


def test_steps_of_another_size_are_refused():
    with pytest.raises(
        UnsupportedError, match=r"steps are not those of the grid.*they are -0\.\d+"
    ):
        clock_of(with_scheduler(FlowMatchShort))


class Late(toy.Toy):
    """Its loop tells other times than those of its grid."""

    def stepped(self, velocity, t):
        if len(self.scheduler.timesteps) > 2:
            self.scheduler.timesteps.mul_(0.98)
        return velocity


class InChunks(toy.Toy):
    """Its loop runs for two parts."""

    @torch.no_grad()
    def __call__(self, prompt, latents=None, **kwargs):
        toy.Toy.__call__(self, prompt, latents=latents, **kwargs)
        return toy.Toy.__call__(self, prompt, latents=latents, **kwargs)


@pytest.mark.parametrize(
    ("cls", "why"),
    [
        (Late, r"steps at other times than those of its grid: 0\.\d+ and not"),
        (InChunks, r"steps its solver 4 times where its grid has 2 steps: it works in chunks"),
    ],
)
def test_a_loop_that_is_no_walk_along_the_grid_is_refused(cls, why):
    with pytest.raises(UnsupportedError, match=why):
        clock_of(toy.toy(cls))
