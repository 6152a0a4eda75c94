"""Tiny pipelines of diffusers by their kind, each written once."""

import pytest

from zoo.policy.pipeline.policy import Diffusers


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The options of a tiny pipeline of a kind."""
    written = {}

    def options(kind):
        if kind not in written:
            written[kind] = Diffusers.write_tiny(tmp_path_factory.mktemp("tiny") / kind, kind)
        return written[kind]

    return options
