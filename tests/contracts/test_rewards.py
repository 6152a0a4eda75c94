"""Every registered reward keeps the promises that `zoo.testing` publishes."""

from tests.contracts.components import built, every, parameters
from zoo.testing import RewardTests


class TestEveryReward(RewardTests):
    one = every(parameters("rewards"))
    make = built
