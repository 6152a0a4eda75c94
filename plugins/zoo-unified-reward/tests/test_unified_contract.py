"""What every reward promises, checked on this one with a server that rates by brightness."""

import pytest
from zoo_unified_reward.reward import UnifiedReward

from zoo.reward.base import Reward
from zoo.testing import RewardTests


class TestUnifiedRewardContract(RewardTests):
    @pytest.fixture(autouse=True)
    def _served(self, server):
        server.answer = lambda q: q.say(f"Final Score: {1 + 4 * q.brightness:.4f}")
        self.server = server

    def make(self) -> Reward:
        return UnifiedReward(url=self.server.url, model="judge")
