"""Every registered objective keeps the promises that `zoo.testing` publishes."""

import pytest

from tests.contracts.components import build, parameters
from zoo.testing import ObjectiveTests


class TestEveryObjective(ObjectiveTests):
    @pytest.fixture(autouse=True, params=parameters("objectives"))
    def one(self, request, tmp_path):
        self.entry, self.folder = request.param, tmp_path

    def make(self):
        return build(self.entry, self.folder, solver=self.solver())
