"""What is found of a pipeline; and one that breaks a clause of the contract is refused with it."""

import pytest
import torch

from tests.policy.pipeline import toy
from zoo.policy.pipeline.contract import UnsupportedError
from zoo.policy.pipeline.learn import learn
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.step import Steps
from zoo.policy.pipeline.verify import verify


def test_a_pipeline_is_learned_without_a_word_about_it():
    contract = learn(toy.seam_of())
    assert contract.shapes == ((2, 8, 8),)
    assert contract.offset == 0
    assert contract.boundary is None
    assert contract.manner.off == 1
    plain, guided = (contract.passes["transformer", told][0] for told in (False, True))
    assert plain.told == (True,)
    assert guided.told == (False, True)
    assert {path[-1] for path in plain.latents} == {"hidden_states"}
    ((path, (start, slope)),) = plain.time.items()
    assert path[-1] == "timestep"
    assert float(start) == 0
    assert float(slope) == 1
    assert set(plain.rows.values()) == {0}


def test_the_scale_that_counts_from_zero_is_found():
    contract = learn(toy.seam_of(FromZero))
    assert contract.manner.off == 0
    assert contract.offset == -1


class FromZero(toy.Toy):
    """Guidance of 0 is none, as in Z-Image."""

    def guide(self, without, told, scale):
        return told + (scale - 1) * (told - without)

    @torch.no_grad()
    def __call__(self, prompt, guidance_scale=0.0, **kwargs):
        return toy.Toy.__call__(self, prompt, guidance_scale=guidance_scale + 1, **kwargs)


def test_a_pipeline_that_always_guides_is_asked_with_a_scale_of_one():
    contract = learn(toy.seam_of(AlwaysGuides))
    assert contract.manner.guided_by == "guidance_scale"
    assert contract.offset == 0
    for guided in (False, True):
        assert [one.told for one in contract.passes["transformer", guided]] == [(True,), (False,)]


class AlwaysGuides(toy.Toy):
    """Both branches are computed whatever the scale is, as in Ideogram 4."""

    @torch.no_grad()
    def __call__(self, prompt, guidance_scale=7.0, latents=None, generator=None):
        x, words, times = self.begin(prompt, latents, generator, 2)
        for t in times:
            told, without = (self.denoise(x, t, given) for given in (words, 0 * words))
            velocity = self.guide(without, told, guidance_scale)
            x = self.scheduler.step(velocity, t, x, return_dict=False)[0]
        return (x,)


def test_a_pipeline_that_takes_one_prompt_a_call_is_asked_so():
    contract = learn(toy.seam_of(toy.OneAtATime))
    assert contract.manner.batching == "alone"
    assert not contract.independent


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    ("cls", "why"),
    [
        (toy.IgnoresTime, "the time does not reach the network"),
        (toy.SquaresTime, "'timestep' of transformer is no straight line of the time"),
        (toy.IgnoresPrompts, "the prompt does not reach the network"),
        (toy.ScalesByTime, "not through a network alone"),
        (toy.StepsAnother, "does not step the latents that it is given"),
        (toy.SquaresGuidance, "its guidance is neither"),
        (toy.EncodesTwice, "encodes 2 prompts in 4 rows"),
    ],
)
def test_a_broken_clause_is_refused_with_what_it_does_instead(cls, why):
    with pytest.raises(UnsupportedError, match=why) as refused:
        learn(toy.seam_of(cls))
    assert cls.__name__ in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("missing", "why"),
    [("scheduler", "no network and scheduler"), ("transformer", "no network and scheduler")],
)
def test_a_pipeline_without_the_parts_is_refused(missing, why):
    pipe = toy.toy()
    setattr(pipe, missing, None)
    with pytest.raises(UnsupportedError, match=why):
        Seam(pipe, toy.Family(), {}, negative="", image=None)


def verified(cls):
    """The toy's pictures are its latents."""
    seam = toy.seam_of(cls)
    contract = learn(seam)
    steps = Steps(seam, contract, lambda name, *a, **k: seam.networks[name](*a, **k))
    return verify(seam, contract, steps, torch.float32, lambda latents: latents)


def test_what_was_found_is_what_the_own_loop_does():
    found = verified(toy.Toy)
    assert found.keys() == {"guidance 1", "guidance 4"}
    assert found["guidance 1"] == 0
    # Its loop doubles the batch, and float32 rounds products of more rows otherwise.
    assert found["guidance 4"] < 1e-5


def test_a_loop_that_does_otherwise_than_its_step_alone_is_refused():
    with pytest.raises(UnsupportedError, match=r"own loop makes other velocities.*0\.001 is"):
        verified(Switches)


def test_a_loop_that_changes_its_latents_between_steps_is_refused():
    with pytest.raises(UnsupportedError, match="changes its latents between steps"):
        verified(Resets)


def test_an_end_that_is_not_of_the_latents_alone_is_refused():
    with pytest.raises(UnsupportedError, match="what it decodes are not its last latents alone"):
        verified(EndsOtherwise)


class EndsOtherwise(toy.Toy):
    """It shows something else than it came to."""

    @torch.no_grad()
    def __call__(self, prompt, **kwargs):
        return (toy.Toy.__call__(self, prompt, **kwargs)[0] + 1,)


class Resets(toy.Toy):
    """A part of what it steps is put back after every step."""

    def stepped(self, velocity, t):
        return velocity

    def denoise(self, x, t, words):
        if len(self.scheduler.timesteps) > 1:
            x[:, :1] = 0
        return super().denoise(x, t, words)


class Switches(toy.Toy):
    """From the second step on it tells its network another time."""

    count = 0

    def told(self, t, rows):
        self.count += 1
        return super().told(t if len(self.scheduler.timesteps) < 2 else t / 2, rows)


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    learn(toy.seam_of())
    assert torch.equal(torch.get_rng_state(), before)
