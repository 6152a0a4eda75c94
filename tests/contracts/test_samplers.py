"""Every registered sampler keeps the promises that `zoo.testing` publishes."""

from tests.contracts.components import build, cls_of, every, parameters
from zoo.sampler.base import Sampler
from zoo.testing import SamplerTests

# Not those of stored images, which make none.
SAMPLERS = [each for each in parameters("samplers") if issubclass(cls_of(each.values[0]), Sampler)]


class TestEverySampler(SamplerTests):
    one = every(SAMPLERS)

    def make(self, solver, guidance):
        return build(self.entry, self.folder, guidance=guidance, solver=solver)
