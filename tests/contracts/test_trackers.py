"""Every registered tracker keeps the promises that `zoo.testing` publishes."""

from tests.contracts.components import built, every, parameters
from zoo.testing import TrackerTests


class TestEveryTracker(TrackerTests):
    one = every(parameters("trackers"))
    make = built
