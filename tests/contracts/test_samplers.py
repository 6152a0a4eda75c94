"""Every registered sampler keeps the promises that `zoo.testing` publishes."""

import pytest

from tests.contracts.components import build, parameters
from zoo.testing import SamplerTests


class TestEverySampler(SamplerTests):
    @pytest.fixture(autouse=True, params=parameters("samplers"))
    def one(self, request, tmp_path):
        self.entry, self.folder = request.param, tmp_path

    def make(self, solver, guidance):
        return build(self.entry, self.folder, guidance=guidance, solver=solver)
