"""The digit rewards: right on real digits, alone or in a batch, and loud about a wrong prompt."""

import pytest
import torch
from torch import Tensor

from zoo.data.digits import Labelled, halves
from zoo.prompt import Prompt
from zoo.reward.base import Scores
from zoo.reward.digits import Digit, DigitJudge

CPU = torch.device("cpu")
REWARDS = pytest.mark.parametrize("reward", [Digit, DigitJudge])


def real(half: Labelled, num: int | None = None) -> tuple[Tensor, list[Prompt]]:
    images = torch.from_numpy(half.images[:num]).unsqueeze(1).repeat(1, 3, 1, 1)
    return images, [Prompt("", {"digit": int(digit)}) for digit in half.digits[:num]]


def values(scores: Tensor | Scores) -> Tensor:
    return scores.value if isinstance(scores, Scores) else scores


def test_the_judge_names_digits_that_it_was_not_fitted_on() -> None:
    first, _ = halves()
    assert DigitJudge(CPU).score(*real(first)).value.mean() > 0.97


def test_the_classifier_names_digits_that_it_was_not_trained_on() -> None:
    _, second = halves()
    assert (Digit(CPU).score(*real(second)) > 0.5).float().mean() > 0.98


@REWARDS
def test_a_digit_is_scored_high_for_its_own_prompt_alone(
    reward: type[Digit] | type[DigitJudge],
) -> None:
    images, prompts = real(halves()[0], 100)
    others = [Prompt("", {"digit": (prompt.metadata["digit"] + 1) % 10}) for prompt in prompts]
    judge = reward(CPU)
    assert values(judge.score(images, prompts)).mean() > 0.85
    assert values(judge.score(images, others)).mean() < 0.05


@REWARDS
def test_scores_are_float32_in_the_unit_range(reward: type[Digit] | type[DigitJudge]) -> None:
    noise = torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    scores = values(reward(CPU).score(noise, [Prompt("", {"digit": 3})] * 50))
    assert (scores.shape, scores.dtype) == ((50,), torch.float32)
    assert ((scores >= 0) & (scores <= 1)).all()


@REWARDS
def test_a_score_does_not_depend_on_the_batch(reward: type[Digit] | type[DigitJudge]) -> None:
    images, prompts = real(halves()[1], 40)
    images = (
        images + 0.3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    ).clamp(0, 1)
    judge = reward(CPU)
    together = judge.score(images, prompts)
    alone = [
        judge.score(image, [prompt]) for image, prompt in zip(images.split(1), prompts, strict=True)
    ]
    torch.testing.assert_close(torch.cat([values(score) for score in alone]), values(together))
    if isinstance(together, Scores):
        distance = torch.cat(
            [score.extras["distance_to_data"] for score in alone if isinstance(score, Scores)]
        )
        assert torch.equal(distance, together.extras["distance_to_data"])


def test_the_distance_to_data_is_0_on_the_judge_s_half_and_positive_elsewhere() -> None:
    first, second = halves()
    judge = DigitJudge(CPU)
    assert judge.score(*real(second)).extras["distance_to_data"].max() == 0
    assert judge.score(*real(first)).extras["distance_to_data"].min() > 0.5


def test_the_distance_is_in_pixels_from_minus_1_to_1() -> None:
    judge = DigitJudge(CPU)
    images, prompts = real(halves()[1], 1)
    images[:, :, 0, 0] += 0.25
    distance = judge.score(images, prompts).extras["distance_to_data"]
    torch.testing.assert_close(distance, torch.tensor([0.5]))


@REWARDS
def test_a_prompt_without_a_digit_is_refused(reward: type[Digit] | type[DigitJudge]) -> None:
    with pytest.raises(
        ValueError, match=r"the prompt 'a cat' has metadata {}; a digit reward needs"
    ):
        reward(CPU).score(torch.zeros(1, 3, 8, 8), [Prompt("a cat")])


@REWARDS
def test_images_of_another_size_are_refused(reward: type[Digit] | type[DigitJudge]) -> None:
    with pytest.raises(
        ValueError, match=r"8 x 8 pixels, not 16 x 12; .* use digit rewards with the digits policy"
    ):
        reward(CPU).score(torch.zeros(1, 3, 16, 12), [Prompt("", {"digit": 1})])
