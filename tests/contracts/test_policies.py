"""Every registered policy keeps the promises that `zoo.testing` publishes."""

import pytest
import torch

from tests.contracts.components import built, every, parameters
from zoo.data.digits import halves
from zoo.policy.digits import Digits
from zoo.testing import PolicyTests


@pytest.mark.fast_cases(2)  # the others are presets of the generic one
class TestEveryPolicy(PolicyTests):
    one = every(parameters("policies"))
    make = built


def test_a_digit_decoded_from_its_latents_is_the_digit():
    policy = Digits(torch.device("cpu"))
    grey = torch.from_numpy(halves()[0].images[:9])[:, None]
    images = grey.repeat(1, 3, 1, 1)
    torch.testing.assert_close(policy.decode(policy.latents(images)), images, rtol=0, atol=1e-6)
