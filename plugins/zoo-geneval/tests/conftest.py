"""The tiny random models, written once."""

import pytest
from zoo_geneval.reward import GenEval


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The options that load them."""
    return GenEval.write_tiny(tmp_path_factory.mktemp("geneval"))
