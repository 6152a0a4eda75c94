"""Every registered solver keeps the promises that `zoo.testing` publishes."""

from tests.contracts.components import built, every, parameters
from zoo.testing import SolverTests


class TestEverySolver(SolverTests):
    one = every(parameters("solvers"))
    make = built
