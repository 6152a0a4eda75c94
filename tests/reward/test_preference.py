"""The reward that reads what a data set says."""

import pytest
import torch

from zoo.prompt import Prompt, PromptError
from zoo.reward.preference import Preference
from zoo.testing import RewardTests, some_prompts


class TestPreference(RewardTests):
    def make(self):
        return Preference()

    def prompts(self, num):
        return [
            Prompt(prompt.text, {"preference": i % 3 / 2})
            for i, prompt in enumerate(some_prompts(num))
        ]


def test_a_score_is_the_number_that_the_data_has():
    prompts = [Prompt("x", {"preference": value}) for value in (1, 0, 0.5, -3.25)]
    score = Preference().score(torch.zeros(4, 3, 2, 2), prompts)
    assert score.dtype == torch.float32
    assert score.tolist() == [1, 0, 0.5, -3.25]


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, "is not there"),
        ({"preference": [1, 0]}, r"is \[1, 0\], not one number"),
        ({"preference": None}, "is None, not one number"),
        ({"preference": "1"}, "is '1', not one number"),
        ({"preference": True}, "is True, not one number"),
    ],
)
def test_a_prompt_without_one_number_is_refused_in_a_line(metadata, said):
    with pytest.raises(
        PromptError, match=rf"the prompt 'a cat': .*{said}; use .*dataset"
    ) as caught:
        Preference().score(torch.zeros(1, 3, 2, 2), [Prompt("a cat", metadata)])
    assert "\n" not in str(caught.value)
