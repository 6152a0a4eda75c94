"""Every registered sampler keeps the promises that `zoo.testing` publishes."""

from tests.contracts.components import build, every
from zoo.testing import SamplerTests


class TestEverySampler(SamplerTests):
    one = every("samplers")

    def make(self, solver, guidance):
        return build(self.entry, self.folder, guidance=guidance, solver=solver)
