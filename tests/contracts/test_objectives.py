"""Every registered objective keeps the promises that `zoo.testing` publishes."""

from tests.contracts.components import build, every, parameters
from zoo.testing import ObjectiveTests


class TestEveryObjective(ObjectiveTests):
    one = every(parameters("objectives"))

    def make(self):
        return build(self.entry, self.folder, solver=self.solver())
