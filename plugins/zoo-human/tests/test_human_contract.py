"""What every reward promises, where nobody votes."""

import pytest
from zoo_human.reward import Human

from zoo.testing import RewardTests


class TestHuman(RewardTests):
    @pytest.fixture(autouse=True)
    def _opened(self, asking):
        self._asking = asking

    def make(self) -> Human:
        return self._asking(wait=0)
