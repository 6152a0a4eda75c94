"""What every reward promises, checked on this one with a server that rates by brightness."""

import numpy as np
import pytest
from zoo_unified_reward.reward import UnifiedReward

from zoo.reward.base import Reward
from zoo.testing import RewardTests


class TestUnifiedRewardContract(RewardTests):
    @pytest.fixture(autouse=True)
    def _served(self, server):
        self.server = server

        def answer(question):
            mean = float(np.array(question.image).mean() / 255)
            question.say(f"Final Score: {1 + 4 * mean:.4f}")

        server.answer = answer

    def make(self) -> Reward:
        return UnifiedReward(url=self.server.url, model="judge")
