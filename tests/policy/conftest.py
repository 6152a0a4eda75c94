"""The tiny pipelines of SD3 and FLUX.1, each written once; a fixture gives the policy's options."""

import pytest

from zoo.policy.flux import Flux
from zoo.policy.sd3 import SD3
from zoo.policy.tiny import write_flux


@pytest.fixture(scope="session")
def sd3(tmp_path_factory):
    return SD3.write_tiny(tmp_path_factory.mktemp("sd3") / "medium")


@pytest.fixture(scope="session")
def dev(tmp_path_factory):
    return Flux.write_tiny(tmp_path_factory.mktemp("flux") / "dev")


@pytest.fixture(scope="session")
def schnell(tmp_path_factory, dev):
    folder = tmp_path_factory.mktemp("flux") / "schnell"
    write_flux(folder, "schnell")
    return {**dev, "pretrained": str(folder), "guidance_embedding": None}
