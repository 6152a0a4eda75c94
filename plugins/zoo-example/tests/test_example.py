import pytest
import torch
from zoo_example.asked_brightness import AskedBrightness
from zoo_example.distinct import Distinct
from zoo_example.half_step import HalfStep
from zoo_example.ink import Ink

from zoo.prompt import Prompt, PromptError
from zoo.seeds import Draws
from zoo.testing import RewardTests, SolverTests


class TestInk(RewardTests):
    def make(self):
        return Ink()


class TestDistinct(RewardTests):
    def make(self):
        return Distinct()


class TestAskedBrightness(RewardTests):
    def make(self):
        return AskedBrightness()

    def prompts(self, num):
        return [Prompt("the digit seven", {"brightness": i % 5 / 4}) for i in range(num)]


class TestHalfStep(SolverTests):
    def make(self):
        return HalfStep()


def flat(*levels):
    return torch.stack([torch.full((3, 4, 4), level) for level in levels])


def test_a_white_image_has_all_the_ink_and_a_black_one_none():
    assert Ink().score(flat(0.0, 1.0), []).tolist() == [0.0, 1.0]


def test_an_image_is_as_distinct_as_the_nearest_other_is_far():
    score = Distinct().score(flat(0.0, 0.25, 1.0), [])
    torch.testing.assert_close(score, torch.tensor([0.25, 0.25, 0.75]))


def test_an_image_made_twice_is_not_distinct_and_one_alone_cannot_be_scored():
    assert Distinct().score(flat(0.5, 0.5), []).tolist() == [0.0, 0.0]
    assert bool(Distinct().score(flat(0.5), []).isnan().all())


def test_the_brightness_that_was_asked_for_scores_best():
    prompts = [Prompt("x", {"brightness": 0.25}), Prompt("x", {"brightness": 1})]
    assert AskedBrightness().score(flat(0.25, 0.25), prompts).tolist() == [0.0, -0.75]


@pytest.mark.parametrize("metadata", [{}, {"brightness": "low"}, {"brightness": 2}])
def test_a_prompt_that_asks_for_no_brightness_is_refused(metadata):
    with pytest.raises(PromptError, match=r"'a cat' has metadata .* needs"):
        AskedBrightness().score(flat(0.5), [Prompt("a cat", metadata)])


def test_half_step_is_exact_on_a_velocity_linear_in_time():
    draws = Draws(0, "test", 0, torch.arange(2))
    x = torch.ones(2, 1, 2, 2, dtype=torch.float64)
    grid = torch.linspace(1, 0, 4, dtype=torch.float64)
    path = HalfStep().integrate(lambda x, t: torch.full_like(x, float(t)), x, grid, draws)
    torch.testing.assert_close(path.clean, x - 0.5)
    assert path.num_evals == 6
