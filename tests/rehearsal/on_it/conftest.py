"""Here the pretend accelerator is installed, and with each test its traffic is counted anew."""

from collections.abc import Iterator

import pytest

from tests.cli.conftest import zoo_here  # noqa: F401  (a fixture)
from tests.rehearsal.device import install
from tests.rehearsal.on_it.both import enter_phases
from tests.rehearsal.traffic import Traffic, traffic

install()
enter_phases()


@pytest.fixture(autouse=True, name="traffic")
def traffic_of_the_test() -> Iterator[Traffic]:
    traffic.clear()
    yield traffic
    traffic.settle()
