"""Every registered policy keeps the promises that `zoo.testing` publishes."""

import pytest
import torch

from tests.contracts.components import build, parameters
from zoo.data.digits import halves
from zoo.policy.digits import Digits
from zoo.testing import PolicyTests


class TestEveryPolicy(PolicyTests):
    @pytest.fixture(autouse=True, params=parameters("policies"))
    def one(self, request, tmp_path):
        self.entry, self.folder = request.param, tmp_path

    def make(self):
        return build(self.entry, self.folder)


def test_a_digit_decoded_from_its_latents_is_the_digit():
    policy = Digits(torch.device("cpu"))
    grey = torch.from_numpy(halves()[0].images[:9])[:, None]
    images = grey.repeat(1, 3, 1, 1)
    torch.testing.assert_close(policy.decode(policy.latents(images)), images, rtol=0, atol=1e-6)
